"""The callback in real Trainers: faults are named, healthy runs are quiet."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from peft import PeftConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import Trainer
from transformers.trainer_pt_utils import LayerWiseDummyOptimizer
from trl import SFTTrainer

from trainguard import TrainGuardCallback, TrainGuardError, attach, check
from trainguard.findings import Report

import tiny


def causes(report: Report) -> list[str]:
    return [cause.code for cause in report.causes]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A trained LoRA adapter as PEFT saves it, with `inference_mode: true`."""
    model = tiny.lora(tiny.model())
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


@pytest.mark.parametrize("kind", [Trainer, SFTTrainer])
@pytest.mark.parametrize("wrap", [tiny.lora, lambda model: model], ids=["lora", "full"])
def test_a_healthy_run_has_no_finding(kind: type, wrap: object, tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    trainer = tiny.trainer(wrap(tiny.model()), tmp_path, kind, callbacks=[guard], max_steps=20)
    trainer.train()

    assert guard.report.findings == ()
    assert {"TG201", "TG203", "TG301", "TG401", "TG402", "TG403", "TG501", "TG503"} <= set(
        guard.report.checked
    )


def test_sft_on_an_adapter_loaded_frozen_is_named_before_the_first_step(
    adapter: Path, tmp_path: Path
) -> None:
    guard = TrainGuardCallback(on_finding="raise")
    model = PeftModel.from_pretrained(tiny.model(), str(adapter))
    trainer = tiny.trainer(model, tmp_path, SFTTrainer, callbacks=[guard])

    with pytest.raises(TrainGuardError, match="frozen-adapter"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert "training_step" not in vars(trainer)


def test_a_frozen_adapter_explains_its_symptoms(adapter: Path, tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    model = PeftModel.from_pretrained(tiny.model(), str(adapter))
    tiny.trainer(model, tmp_path, SFTTrainer, callbacks=[guard]).train()

    assert causes(guard.report) == ["TG201"]
    assert {finding.code for finding in guard.report.findings} == {"TG201", "TG202", "TG402"}


def test_the_config_round_trip_freezes_too(adapter: Path, tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    model = get_peft_model(tiny.model(), PeftConfig.from_pretrained(str(adapter)))
    tiny.trainer(model, tmp_path, SFTTrainer, callbacks=[guard]).train()

    assert causes(guard.report) == ["TG201"]


def test_an_adapter_loaded_trainable_is_no_finding(adapter: Path, tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    model = PeftModel.from_pretrained(tiny.model(), str(adapter), is_trainable=True)
    tiny.trainer(model, tmp_path, SFTTrainer, callbacks=[guard]).train()

    assert guard.report.findings == ()


def test_a_hidden_nan_is_named_at_its_first_step(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    trainer = tiny.trainer(tiny.model(), tmp_path, tiny.poisoned(from_step=3), callbacks=[guard])
    trainer.train()

    (cause,) = guard.report.causes
    assert (cause.code, cause.location.step) == ("TG501", 3)
    assert trainer.state.log_history[2]["loss"] == 0.0
    assert {"TG401", "TG502"} <= {s.code for s in guard.report.symptoms_of(cause)}


def test_a_nan_inside_a_longer_logging_window_is_named_at_its_step(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    guard = TrainGuardCallback()
    options = {"logging_steps": 4, "max_steps": 8, "gradient_accumulation_steps": 2}
    kind = tiny.poisoned(from_step=3, micro_batches=2)
    with caplog.at_level(logging.WARNING, logger="trainguard"):
        tiny.trainer(tiny.model(), tmp_path, kind, callbacks=[guard], **options).train()

    assert "step 3: the loss is nan" in caplog.messages[0]
    (cause,) = guard.report.causes
    assert (cause.code, cause.location.step) == ("TG501", 3)
    assert "the log of step 4 says" in cause.message


def test_a_nan_gradient_is_named_with_its_parameter_before_clipping(tmp_path: Path) -> None:
    model = tiny.model()
    culprit = "model.layers.1.mlp.down_proj.weight"
    guard = TrainGuardCallback()
    trainer = tiny.trainer(model, tmp_path, callbacks=[guard], max_grad_norm=1.0)

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        if trainer.state.global_step < 2:
            return gradient
        gradient = gradient.clone()
        gradient[0, 0] = float("nan")
        return gradient

    dict(model.named_parameters())[culprit].register_hook(poison)
    trainer.train()

    (cause,) = guard.report.causes
    assert (cause.code, cause.location.step) == ("TG401", 3)
    assert cause.evidence["parameters"] == [culprit]


def test_a_loss_that_is_nan_without_nan_gradients_is_not_blamed_on_them(tmp_path: Path) -> None:
    labels = tiny.rows().map(lambda row: {"labels": [-100] * tiny.LENGTH})
    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, train_dataset=labels, callbacks=[guard]).train()

    assert causes(guard.report) == ["TG301"]


def test_an_optimizer_built_before_the_adapter_is_named(tmp_path: Path) -> None:
    base = tiny.model()
    optimizer = torch.optim.AdamW(base.parameters(), lr=1e-3)
    guard = TrainGuardCallback()
    options = {"optimizers": (optimizer, None), "max_steps": 8}
    tiny.trainer(tiny.lora(base), tmp_path, callbacks=[guard], **options).train()

    (cause,) = guard.report.causes
    assert cause.code == "TG203"
    assert cause.evidence["missing_tensors"] == 8
    assert "TG403" in {s.code for s in guard.report.symptoms_of(cause)}


def test_bfloat16_weights_that_round_every_update_away_are_named(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    model = tiny.model().to(torch.bfloat16)
    options = {"learning_rate": 1e-9, "max_steps": 8, "lr_scheduler_type": "constant"}
    tiny.trainer(model, tmp_path, callbacks=[guard], **options).train()

    assert causes(guard.report) == ["TG403"]


def test_a_constant_learning_rate_of_zero_is_named(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    options = {"learning_rate": 0.0, "max_steps": 8}
    tiny.trainer(tiny.model(), tmp_path, callbacks=[guard], **options).train()

    assert causes(guard.report) == ["TG504"]


def test_a_warmup_that_starts_at_zero_is_no_finding(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    options = {"max_steps": 12, "warmup_steps": 4, "lr_scheduler_type": "cosine"}
    tiny.trainer(tiny.lora(tiny.model()), tmp_path, callbacks=[guard], **options).train()

    assert guard.report.findings == ()


def test_stop_ends_the_run_where_the_fault_was_found(tmp_path: Path) -> None:
    guard = TrainGuardCallback(on_finding="stop")
    kind = tiny.poisoned(from_step=3)
    trainer = tiny.trainer(tiny.model(), tmp_path, kind, callbacks=[guard])
    trainer.train()

    assert trainer.state.global_step == 3


def test_a_cause_is_announced_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    guard = TrainGuardCallback()
    with caplog.at_level(logging.WARNING, logger="trainguard"):
        kind = tiny.poisoned(from_step=2)
        tiny.trainer(tiny.model(), tmp_path, kind, callbacks=[guard], max_steps=12).train()

    assert len(caplog.messages) == 1
    assert "hidden-nan-loss" in caplog.messages[0]


def test_the_record_is_replayed_from_disk(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    kind = tiny.poisoned(from_step=3)
    tiny.trainer(tiny.model(), tmp_path, kind, callbacks=[guard]).train()
    replayed = check(tmp_path)

    assert [f.code for f in replayed.findings] == [f.code for f in guard.report.findings]
    assert [f.message for f in replayed.findings] == [f.message for f in guard.report.findings]
    report = json.loads((tmp_path / "trainguard" / "report.json").read_text())
    assert report["findings"][0]["code"] == "TG501"


def test_a_bare_state_file_is_judged_with_what_it_has(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.model(), tmp_path, tiny.poisoned(from_step=3))
    trainer.train()
    trainer.save_state()
    report = check(tmp_path)

    assert causes(report) == ["TG501"]
    assert report.causes[0].location.step == 3
    unknown = {entry.code: entry.reason for entry in report.not_checked}
    assert "TrainGuardCallback" in unknown["TG201"]
    assert "not observed" in unknown["TG301"]


def test_attach_watches_an_existing_trainer_and_leaves_no_trace(tmp_path: Path) -> None:
    model = tiny.model()
    trainer = tiny.trainer(model, tmp_path)
    methods = {name for name, value in vars(trainer).items() if callable(value)}
    callback = attach(trainer)
    trainer.train()

    assert "TG402" in callback.report.checked
    assert {name for name, value in vars(trainer).items() if callable(value)} == methods
    assert not trainer.optimizer.optimizer._optimizer_step_post_hooks


def test_an_exception_inside_trainguard_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainguard.gather.steps import StepRecorder

    def broken(self: StepRecorder, scale: object = None) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(StepRecorder, "gradients", broken)
    guard = TrainGuardCallback()
    trainer = tiny.trainer(tiny.model(), tmp_path, callbacks=[guard])
    trainer.train()

    assert trainer.state.global_step == 6
    (finding,) = guard.report.findings
    assert finding.code == "TG000"
    assert "ZeroDivisionError: planted" in finding.message
    assert "training_step" not in vars(trainer)


def test_the_callback_rejects_an_unknown_reaction() -> None:
    with pytest.raises(ValueError, match="'explode'"):
        TrainGuardCallback(on_finding="explode")


def test_a_live_model_is_checked_like_a_file(adapter: Path) -> None:
    frozen = PeftModel.from_pretrained(tiny.model(), str(adapter))
    trainable = PeftModel.from_pretrained(tiny.model(), str(adapter), is_trainable=True)

    assert causes(check(frozen)) == ["TG201"]
    assert check(trainable).findings == ()


def test_a_callback_that_has_watched_nothing_gives_no_clean_bill() -> None:
    assert TrainGuardCallback().report.exit_code == 3


def test_an_engine_that_steps_by_itself_is_not_taken_for_missing_gradients(tmp_path: Path) -> None:
    """Layer-wise optimizers consume the gradients inside the backward pass."""
    model = tiny.model()
    own = {p: torch.optim.SGD([p], lr=1e-2) for p in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        own[parameter].step()
        own[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    guard = TrainGuardCallback()
    dummy = LayerWiseDummyOptimizer()
    schedule = torch.optim.lr_scheduler.ConstantLR(dummy, 1.0)
    tiny.trainer(model, tmp_path, callbacks=[guard], optimizers=(dummy, schedule)).train()

    assert guard.report.findings == ()
    unknown = {entry.code: entry.reason for entry in guard.report.not_checked}
    assert "another engine" in unknown["TG203"]
    assert {"TG402", "TG403"} <= set(unknown)


def test_a_flattened_model_is_not_taken_for_missing_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainguard.gather.steps.is_flat", lambda parameter: True)
    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, callbacks=[guard]).train()

    assert guard.report.findings == ()
    assert {"TG402", "TG501"} <= set(guard.report.checked)
    assert "TG403" in {entry.code for entry in guard.report.not_checked}


def test_prompt_tuning_stays_trainable_however_it_is_loaded(tmp_path: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, inference_mode=True)
    guard = TrainGuardCallback()
    model = get_peft_model(tiny.model(), config)
    tiny.trainer(model, tmp_path, callbacks=[guard], max_steps=12, learning_rate=0.1).train()

    assert guard.report.findings == ()
