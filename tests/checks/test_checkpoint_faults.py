"""Each fault planted in what a real run or save_pretrained wrote is the only cause reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer
from trl import SFTTrainer

import trainguard
from trainguard.facts.full_model import INDEX_NAME
from trainguard.findings import Report

import tiny

EVERY = {"save_strategy": "steps", "save_steps": 2}
MODEL = "model.safetensors"


def frozen() -> Any:
    """An adapter as `PeftModel.from_pretrained` loads it, with what gradient checkpointing sets."""
    model = tiny.lora(tiny.model())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.enable_input_require_grads()
    return model


class Evaluated(Trainer):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, eval_dataset=tiny.rows(8), **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and models as the libraries write them."""
    top = tmp_path_factory.mktemp("made")
    best = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    lora = lambda: tiny.lora(tiny.model())  # noqa: E731
    runs: dict[str, tuple[Any, type[Trainer], dict[str, Any]]] = {
        "lora": (lora(), Trainer, {}),
        "full": (tiny.model(), Trainer, {}),
        "sft": (lora(), SFTTrainer, {}),
        "only": (lora(), Trainer, {"save_only_model": True}),
        "limited": (lora(), Trainer, {"save_total_limit": 2}),
        "frozen": (frozen(), Trainer, {}),
        "best": (lora(), Evaluated, best),
    }
    for name, (model, kind, options) in runs.items():
        tiny.trainer(model, top / name, kind, **EVERY, **options).train()
    model = tiny.model()
    model.save_pretrained(str(top / "single"))
    model.save_pretrained(str(top / "sharded"), max_shard_size="20KB")
    for name in ("single", "sharded"):
        tiny.tokenizer().save_pretrained(str(top / name))
    tied = tiny.model()
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    tied.save_pretrained(str(top / "tied"))
    tiny.lora(tiny.model()).merge_and_unload().save_pretrained(str(top / "merged"))
    tiny.model().to(torch.bfloat16).save_pretrained(str(top / "bfloat16"))
    return top


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(made / name, tmp_path / name))


def causes(folder: Path) -> list[tuple[str, str]]:
    report: Report = trainguard.check(folder)
    return [(finding.code, finding.severity.value) for finding in report.causes]


def state(checkpoint: Path, **fields: Any) -> None:
    path = checkpoint / "trainer_state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("name", ["lora", "full", "sft", "limited", "best"])
def test_a_healthy_run_is_clean(made: Path, name: str) -> None:
    report = trainguard.check(made / name)

    assert report.findings == ()
    assert report.exit_code == 0
    assert {"TG130", "TG131", "TG132", "TG133", "TG134", "TG135"} <= set(report.checked)


@pytest.mark.parametrize("name", ["single", "sharded", "tied", "merged", "bfloat16"])
def test_a_healthy_model_is_clean(made: Path, name: str) -> None:
    report = trainguard.check(made / name)

    assert report.findings == ()
    assert [subject.kind for subject in report.subjects] == ["model"]
    assert {f"TG14{digit}" for digit in range(8)} <= set(report.checked)


def test_saving_only_the_model_is_a_choice(made: Path) -> None:
    assert causes(made / "only") == [("TG132", "info")]
    assert trainguard.check(made / "only").exit_code == 0
    assert trainguard.check(made / "only", purpose="infer").findings == ()


def test_a_frozen_run_has_one_cause_and_its_files_are_symptoms(made: Path) -> None:
    report = trainguard.check(made / "frozen")

    assert [finding.code for finding in report.causes] == ["TG402"]
    assert {"TG105", "TG130", "TG135"} <= {f.code for f in report.findings if f.explained_by}


def test_without_its_log_a_frozen_run_is_told_by_its_optimizer(
    copy: Callable[[str], Path],
) -> None:
    run = copy("frozen")
    for checkpoint in run.glob("checkpoint-*"):
        state(checkpoint, log_history=[])

    assert causes(run) == [("TG135", "error")]


def test_identical_checkpoints(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    for number in (4, 6):
        shutil.copy(
            run / "checkpoint-2" / "adapter_model.safetensors", run / f"checkpoint-{number}"
        )

    assert causes(run) == [("TG130", "error")]


def test_checkpoints_that_stop_moving_are_a_warning(copy: Callable[[str], Path]) -> None:
    run = copy("full")
    shutil.copy(run / "checkpoint-4" / MODEL, run / "checkpoint-6")

    assert causes(run) == [("TG130", "warning")]


def test_a_full_model_beside_an_adapter_wins_on_resume(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    tiny.model().save_pretrained(str(run / "base"))
    shutil.copy(run / "base" / MODEL, run / "checkpoint-6")
    shutil.rmtree(run / "base")
    model = tiny.lora(tiny.model())
    trainer = tiny.trainer(model, run)
    trainer._load_from_checkpoint(str(run / "checkpoint-6"))
    fresh = [tensor for name, tensor in model.named_parameters() if "lora_B" in name]

    assert fresh
    assert not any(tensor.any() for tensor in fresh)
    assert causes(run) == [("TG131", "error")]


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


@pytest.mark.parametrize(
    ("number", "name", "severity"),
    [
        (6, "optimizer.pt", "warning"),
        (6, "scheduler.pt", "warning"),
        (6, "rng_state.pth", "info"),
        (2, "optimizer.pt", "info"),
    ],
)
def test_lost_state(copy: Callable[[str], Path], number: int, name: str, severity: str) -> None:
    run = copy("lora")
    (run / f"checkpoint-{number}" / name).unlink()

    assert causes(run) == [("TG132", severity)]


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


def test_a_renamed_checkpoint(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    (run / "checkpoint-6").rename(run / "checkpoint-60")

    assert causes(run) == [("TG133", "warning")]


def test_a_lost_best_checkpoint(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    state(run / "checkpoint-6", best_model_checkpoint=str(run / "checkpoint-5"), best_metric=1.5)

    assert causes(run) == [("TG134", "warning")]


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


def index(folder: Path, change: Callable[[dict[str, str]], Any]) -> None:
    path = folder / INDEX_NAME
    values = json.loads(path.read_text())
    change(values["weight_map"])
    path.write_text(json.dumps(values))


NORM, HEAD = "model.norm.weight", "lm_head.weight"
FIRST, LAST = "model-00001-of-00006.safetensors", "model-00006-of-00006.safetensors"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda names: names.update({NORM: "/etc/hostname"}), ("TG140", "error")),
        (lambda names: names.update({NORM: "../x.safetensors"}), ("TG140", "error")),
        (lambda names: names.update({NORM: "gone.safetensors"}), ("TG141", "error")),
        (lambda names: names.update({NORM: FIRST if names[NORM] != FIRST else LAST}), None),
        (lambda names: names.pop(NORM), None),
        (lambda names: names.update({"model.layers.9.x": FIRST}), None),
    ],
)
def test_a_damaged_index(
    copy: Callable[[str], Path],
    change: Callable[[dict[str, str]], Any],
    expected: tuple[str, str] | None,
) -> None:
    folder = copy("sharded")
    index(folder, change)

    assert causes(folder) == [expected or ("TG142", "warning")]


def test_a_removed_shard(copy: Callable[[str], Path]) -> None:
    folder = copy("sharded")
    (folder / LAST).unlink()

    assert causes(folder) == [("TG141", "error")]


def test_an_index_beside_the_single_file_does_not_count(copy: Callable[[str], Path]) -> None:
    folder = copy("sharded")
    shutil.copy(copy("single") / MODEL, folder)
    for shard in folder.glob("model-0*"):
        shard.unlink()

    assert causes(folder) == []


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    tensors = load_file(folder / MODEL)
    tensors = change(tensors) or tensors
    save_file(tensors, folder / MODEL, metadata={"format": "pt"})
    return folder


def test_an_adapter_that_was_not_merged(tmp_path: Path) -> None:
    tiny.lora(tiny.model()).get_base_model().save_pretrained(str(tmp_path / "a"))
    peft_model = tiny.lora(tiny.model())
    tiny.model().save_pretrained(str(tmp_path / "b"))
    save_file(peft_model.state_dict(), tmp_path / "b" / MODEL, metadata={"format": "pt"})

    assert causes(tmp_path / "a") == [("TG143", "error")]
    assert causes(tmp_path / "b") == [("TG143", "error")]


def test_weights_with_nan(copy: Callable[[str], Path]) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors[HEAD][3] = float("nan")

    folder = rewritten(copy("single"), poison)
    report = trainguard.check(folder)

    assert [finding.code for finding in report.causes] == ["TG144"]
    assert report.findings[0].evidence["elements"] == 32
    assert report.findings[0].location.key == HEAD


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_the_prefix_of_a_wrapper(copy: Callable[[str], Path], prefix: str) -> None:
    folder = rewritten(copy("single"), lambda old: {prefix + name: old[name] for name in old})

    assert causes(folder) == [("TG145", "error")]


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


def test_a_pointer_in_the_place_of_weights(copy: Callable[[str], Path]) -> None:
    folder = copy("single")
    (folder / MODEL).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")

    assert causes(folder) == [("TG147", "error")]


def test_nan_weights_in_checkpoints_belong_to_the_loss_that_made_them(tmp_path: Path) -> None:
    kind = tiny.poisoned(from_step=1)
    options = {**EVERY, "callbacks": [trainguard.TrainGuardCallback()]}
    tiny.trainer(tiny.model(), tmp_path, kind, **options).train()
    report = trainguard.check(tmp_path)

    assert [finding.code for finding in report.causes] == ["TG501"]
    assert {"TG130", "TG144"} <= {f.code for f in report.findings if "TG501" in f.explained_by}
