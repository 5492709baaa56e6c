"""Checkpoints of real runs, and folders that hold anything at all."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import Trainer

from trainguard.engine import judge
from trainguard.facts.checkpoint import CheckpointFacts
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.intent import Intent
from trainguard.gather import checkpoint, checkpoint_weights
from trainguard.gather.checkpoint import checkpoint_folders, with_checkpoints
from trainguard.registry import select

import tiny

BARE = Evidence(subject="run", kind="training run", facts={})


def read(run: Path) -> tuple[CheckpointFacts, ...]:
    facts: tuple[CheckpointFacts, ...] = with_checkpoints(BARE, run, Intent()).facts[
        CheckpointFacts
    ]
    return facts


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("real") / "out"
    options = {"save_strategy": "steps", "save_steps": 3}
    tiny.trainer(tiny.lora(tiny.model()), run, Trainer, **options).train()
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_a_real_run_gives_its_facts(finished: Path) -> None:
    first, last = read(finished)

    assert (first.name, first.number, first.global_step, first.max_steps) == (
        "checkpoint-3",
        3,
        3,
        6,
    )
    assert last.files["adapter_model.safetensors"] == 5120
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"} <= set(last.files)
    assert last.optimizer_is_empty is False
    assert last.weights != first.weights
    assert last.weight_bytes == 4096
    assert not last.sharded_state


def test_the_metadata_of_a_header_does_not_make_weights_differ(run: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(run / "checkpoint-3" / "adapter_model.safetensors")
    save_file(weights, run / "checkpoint-6" / "adapter_model.safetensors", metadata={"a": "b"})
    first, last = read(run)

    assert first.weights == last.weights is not None


@pytest.mark.parametrize("offset", [0, 1, 3_333_333, -1])
def test_one_byte_anywhere_in_large_weights_tells_them_apart(tmp_path: Path, offset: int) -> None:
    from safetensors.torch import save_file

    values = torch.zeros(4 * 2**20, dtype=torch.uint8)
    for step in (1, 2):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": values}, folder / "model.safetensors")
        values[offset] = 1
    first, second = read(tmp_path)

    assert first.weights != second.weights
    assert None not in (first.weights, second.weights)


def test_weights_that_look_alike_and_are_too_large_are_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}").mkdir()
        values = torch.zeros(4 * 2**20, dtype=torch.uint8)
        save_file({"w": values}, tmp_path / f"checkpoint-{step}" / "model.safetensors")
    monkeypatch.setattr(checkpoint_weights, "LARGEST", 2**20)

    assert [one.weights for one in read(tmp_path)] == [None, None]


def test_named_adapters_in_sub_folders_count(run: Path) -> None:
    for name in ("checkpoint-3", "checkpoint-6"):
        (run / name / "policy").mkdir()
        weights = run / name / "adapter_model.safetensors"
        weights.rename(run / name / "policy" / weights.name)
    first, last = read(run)

    assert first.weight_bytes == 4096
    assert first.weights != last.weights


@pytest.mark.parametrize(
    ("optimizer", "empty"),
    [
        (lambda p: torch.optim.SGD([p], lr=0.1), False),
        (lambda p: torch.optim.AdamW([{"params": [p]}, {"params": []}]), False),
        (lambda p: torch.optim.AdamW([{"params": []}, {"params": []}]), True),
    ],
)
def test_an_optimizer_is_empty_only_without_any_parameter(
    run: Path, optimizer: Any, empty: bool
) -> None:
    built = optimizer(torch.nn.Parameter(torch.ones(2)))
    torch.save(built.state_dict(), run / "checkpoint-6" / "optimizer.pt")

    assert read(run)[-1].optimizer_is_empty is empty


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x02."])
def test_a_file_that_is_no_saved_optimizer_is_left_open(run: Path, content: bytes) -> None:
    (run / "checkpoint-6" / "optimizer.pt").write_bytes(content)

    assert read(run)[-1].optimizer_is_empty is None


def test_a_pickle_that_would_act_is_not_carried_out(run: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"param_groups": [{"params": [], "trap": Trap()}]}, tmp_path / "trap.pt")
    shutil.copy(tmp_path / "trap.pt", run / "checkpoint-6" / "optimizer.pt")
    (run / "checkpoint-6" / "training_args.bin").write_bytes(pickle.dumps(Trap()))
    read(run)

    assert not (tmp_path / "sprung").exists()


def test_links_count_a_checkpoint_once_and_loops_are_nothing(run: Path) -> None:
    (run / "checkpoint-9").symlink_to(run / "checkpoint-6")
    (run / "checkpoint-12").symlink_to(run / "checkpoint-12")
    (run / "checkpoint-3" / "loop").symlink_to(run / "checkpoint-3" / "loop")

    assert [path.name for path in checkpoint_folders(run)] == ["checkpoint-3", "checkpoint-6"]
    assert [one.number for one in read(run)] == [3, 6]


def test_of_very_many_checkpoints_the_latest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "MOST", 2)
    for step in (1, 2, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()

    assert [one.number for one in read(tmp_path)] == [2, 10]


def test_special_files_are_not_opened(run: Path) -> None:
    for name in ("trainer_state.json", "adapter_model.safetensors", "optimizer.pt"):
        path = run / "checkpoint-3" / name
        path.unlink()
        os.mkfifo(path)
    (run / "checkpoint-3" / "model.safetensors").symlink_to("/dev/zero")
    evidence = with_checkpoints(BARE, run, Intent())
    first = evidence.facts[CheckpointFacts][0]

    assert (first.global_step, first.weights, first.optimizer_is_empty) == (None, None, None)
    assert "FIFO" in evidence.facts[Failure][0].error


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "{", "[]", "null", "\xff", '{"a":' + "9" * 5000]
)
def test_a_broken_state_is_a_failure_not_an_exception(run: Path, content: str) -> None:
    (run / "checkpoint-3" / "trainer_state.json").write_text(content, encoding="latin-1")
    evidence = with_checkpoints(BARE, run, Intent())

    assert [f.what for f in evidence.facts[Failure]] == ["reading checkpoint-3/trainer_state.json"]


def test_a_checkpoint_named_by_itself_is_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run / "checkpoint-3")
    (only,) = read(Path())

    assert only.name == "checkpoint-3"
    assert only.run == str(run.resolve())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\0", "\ud800", "C:\\out\\checkpoint-3", "../..", "/", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
KEYS = ["global_step", "max_steps", "best_model_checkpoint", "best_metric", "log_history"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=st.dictionaries(st.sampled_from(KEYS), JSON))
def test_values_of_any_type_are_survived(state: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-3"
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps(state))
    evidence = with_checkpoints(BARE, tmp_path, Intent())
    report = judge([evidence], select(["TG13"]))

    assert Failure not in evidence.facts
    assert not [f for f in report.findings if f.code == "TG000"]
    report.to_json().encode()
