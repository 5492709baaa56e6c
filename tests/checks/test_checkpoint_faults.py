"""Each fault planted in what a real run or save_pretrained wrote is the only cause reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

import trainguard
from adapters import runs
from adapters.runs import (
    EVERY,
    HEAD,
    HEALTHY_MODELS,
    HEALTHY_RUNS,
    MODEL,
    MODEL_FAULTS,
    RUN_FAULTS,
    model_beside_adapter,
    poison,
    rewritten,
    state,
)
from trainguard.findings import Report
from trainguard.gather import _optimizer

import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and models as the libraries write them."""
    return runs.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(made / name, tmp_path / name))


def causes(folder: Path) -> list[tuple[str, str]]:
    report: Report = trainguard.check(folder)
    return [(finding.code, finding.severity.value) for finding in report.causes]


@pytest.mark.parametrize("name", HEALTHY_RUNS)
def test_a_healthy_run_is_clean(made: Path, name: str) -> None:
    report = trainguard.check(made / name)

    assert report.findings == ()
    assert report.exit_code == 0
    assert {"TG130", "TG131", "TG132", "TG133", "TG134", "TG135"} <= set(report.checked)


@pytest.mark.parametrize("name", HEALTHY_MODELS)
def test_a_healthy_model_is_clean(made: Path, name: str) -> None:
    report = trainguard.check(made / name)

    assert report.findings == ()
    assert [subject.kind for subject in report.subjects] == ["model"]
    assert {f"TG14{digit}" for digit in range(8)} <= set(report.checked)


@pytest.mark.parametrize("name", RUN_FAULTS | MODEL_FAULTS)
def test_a_planted_fault_is_the_only_cause(name: str, copy: Callable[[str], Path]) -> None:
    fault = (RUN_FAULTS | MODEL_FAULTS)[name]
    folder = copy(fault.of)

    fault.damage(folder)

    found = [(finding.name, finding.severity.value) for finding in trainguard.check(folder).causes]
    assert found == ([(fault.check, fault.severity)] if fault.check else [])


def test_saving_only_the_model_is_a_choice(made: Path) -> None:
    assert causes(made / "only") == [("TG132", "info")]
    assert trainguard.check(made / "only").exit_code == 0
    assert trainguard.check(made / "only", purpose="infer").findings == ()


def test_a_frozen_run_has_one_cause_and_its_files_are_symptoms(made: Path) -> None:
    report = trainguard.check(made / "frozen")

    assert [finding.code for finding in report.causes] == ["TG402"]
    assert {"TG105", "TG130", "TG135"} <= {f.code for f in report.findings if f.explained_by}


def test_a_full_model_beside_an_adapter_wins_on_resume(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    model_beside_adapter(run)
    model = tiny.lora(tiny.model())
    trainer = tiny.trainer(model, run)
    trainer._load_from_checkpoint(str(run / "checkpoint-6"))
    fresh = [tensor for name, tensor in model.named_parameters() if "lora_B" in name]

    assert fresh
    assert not any(tensor.any() for tensor in fresh)


def test_a_whole_peft_model_beside_its_adapter_is_loaded(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    model = tiny.lora(tiny.model())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    save_file(model.state_dict(), run / "checkpoint-6" / MODEL)
    fresh = tiny.lora(tiny.model())
    tiny.trainer(fresh, run)._load_from_checkpoint(str(run / "checkpoint-6"))

    assert all(t.any() for name, t in fresh.named_parameters() if "lora_B" in name)
    assert "TG131" not in {code for code, _ in causes(run)}


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt"])
def test_the_learning_rate_restarts_without_state(copy: Callable[[str], Path], name: str) -> None:
    run = copy("lora")
    (run / "checkpoint-4" / name).unlink()
    trainer = tiny.trainer(tiny.lora(tiny.model()), run)
    trainer.train(resume_from_checkpoint=str(run / "checkpoint-4"))
    rates = {
        log["step"]: log["learning_rate"] for log in trainer.state.log_history if "loss" in log
    }

    assert rates[5] > rates[4]


def test_a_checkpoint_that_is_being_written_is_left_alone(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (run / "checkpoint-6" / name).unlink()

    assert causes(run) == []


@pytest.mark.parametrize(
    "recorded",
    [
        "/elsewhere/lora/checkpoint-4",
        "/elsewhere/lora/checkpoint-5",
        "other/checkpoint-5",
        "./checkpoint-5",
        "lora/checkpoint-4",
        "C:\\runs\\lora\\checkpoint-5",
        "C:\\runs\\lora\\checkpoint-4",
        "\0",
    ],
)
def test_the_best_checkpoint_of_a_moved_run_is_not_missed(
    copy: Callable[[str], Path], recorded: str
) -> None:
    run = copy("lora")
    state(run / "checkpoint-6", best_model_checkpoint=recorded, best_metric=1.5)

    assert causes(run) == []


def test_an_index_beside_the_single_file_does_not_count(copy: Callable[[str], Path]) -> None:
    folder = copy("sharded")
    shutil.copy(copy("single") / MODEL, folder)
    for shard in folder.glob("model-0*"):
        shard.unlink()

    assert causes(folder) == []


def test_a_whole_peft_model_that_was_not_merged(tmp_path: Path) -> None:
    tiny.model().save_pretrained(str(tmp_path))
    adapted = tiny.lora(tiny.model())
    save_file(adapted.state_dict(), tmp_path / MODEL, metadata={"format": "pt"})

    assert causes(tmp_path) == [("TG143", "error")]


def test_weights_with_nan(copy: Callable[[str], Path]) -> None:
    folder = copy("single")
    rewritten(poison)(folder)
    report = trainguard.check(folder)

    assert [finding.code for finding in report.causes] == ["TG144"]
    assert report.findings[0].evidence["elements"] == 32
    assert report.findings[0].location.key == HEAD


def test_added_tokens_without_rows(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["<one>", "<two>"])
    model = tiny.model()
    tokenizer.save_pretrained(str(tmp_path))
    model.save_pretrained(str(tmp_path))
    report = trainguard.check(tmp_path)

    assert [finding.code for finding in report.findings] == ["TG146"]
    assert report.findings[0].evidence["tokens"][:2] == ["<two>", "<one>"]

    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=64)
    model.save_pretrained(str(tmp_path))
    assert trainguard.check(tmp_path).findings == ()


def test_nan_weights_in_checkpoints_belong_to_the_loss_that_made_them(tmp_path: Path) -> None:
    kind = tiny.poisoned(from_step=1)
    options = {**EVERY, "callbacks": [trainguard.TrainGuardCallback()]}
    tiny.trainer(tiny.model(), tmp_path, kind, **options).train()
    report = trainguard.check(tmp_path)

    assert [finding.code for finding in report.causes] == ["TG501"]
    assert {"TG130", "TG144"} <= {f.code for f in report.findings if "TG501" in f.explained_by}


def saved_optimizer(checkpoint: Path, kind: type[torch.optim.Optimizer], **options: Any) -> Any:
    """The state of an optimizer after a step, and the file of the checkpoint it belongs to."""
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = kind([weight], lr=0.1, **options)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    return optimizer.state_dict(), checkpoint / "optimizer.pt"


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        (torch.optim.AdamW, {}, "exp_avg_sq"),
        (torch.optim.AdamW, {"amsgrad": True}, "max_exp_avg_sq"),
        (torch.optim.SGD, {"momentum": 0.9}, "momentum_buffer"),
        (torch.optim.Adagrad, {}, "sum"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_number_that_is_none_is_found_in_any_optimizer(
    kind: type[torch.optim.Optimizer],
    options: dict[str, Any],
    name: str,
    value: float,
    copy: Callable[[str], Path],
) -> None:
    run = copy("lora")
    saved, path = saved_optimizer(run / "checkpoint-6", kind, **options)
    torch.save(saved, path)
    assert causes(run) == []

    saved["state"][0][name][1, 1] = value
    torch.save(saved, path)

    (finding,) = trainguard.check(run).findings
    assert (finding.code, finding.evidence["tensors"]) == ("TG136", [f"0.{name}"])


def test_a_nan_in_an_optimizer_spoils_the_next_update(tmp_path: Path) -> None:
    saved, _ = saved_optimizer(tmp_path, torch.optim.AdamW)
    saved["state"][0]["exp_avg"][0, 0] = float("nan")
    weight = torch.nn.Parameter(torch.ones(3, 2))
    resumed = torch.optim.AdamW([weight], lr=0.1)
    resumed.load_state_dict(saved)
    weight.grad = torch.ones_like(weight)
    resumed.step()

    assert weight.isnan().sum() == 1


def test_the_values_of_an_earlier_or_a_large_optimizer_are_not_read(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy("lora")
    saved, path = saved_optimizer(run / "checkpoint-4", torch.optim.AdamW)
    saved["state"][0]["exp_avg"][0, 0] = float("nan")
    torch.save(saved, path)
    assert causes(run) == []

    torch.save(saved, run / "checkpoint-6" / "optimizer.pt")
    assert causes(run) == [("TG136", "error")]
    monkeypatch.setattr(_optimizer, "LARGEST_READ", path.stat().st_size - 1)
    assert causes(run) == []


def test_a_model_without_its_output_layer_answers_with_noise(copy: Callable[[str], Path]) -> None:
    folder = copy("single")
    rewritten(lambda old: {n: t for n, t in old.items() if n != HEAD})(folder)
    first, second = (LlamaForCausalLM.from_pretrained(folder) for _ in range(2))

    assert not torch.equal(first.lm_head.weight, second.lm_head.weight)


def test_a_tied_model_needs_no_output_layer(copy: Callable[[str], Path]) -> None:
    folder = copy("tied")

    assert HEAD not in load_file(folder / MODEL)
    assert causes(folder) == []
