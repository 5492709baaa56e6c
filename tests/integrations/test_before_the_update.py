"""What is seen between the backward pass and the update, and ending a run before the update."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback

from trainguard import TrainGuardCallback, TrainGuardError, watch
from trainguard.facts.steps import StepFacts

import tiny

BAD_STEP = 3


class PlantNaN(Trainer):
    """Puts a NaN into one element of one gradient at the third step."""

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(model, *args, **kwargs)
        if self.state.global_step == BAD_STEP - 1:
            next(p for p in self.model.parameters() if p.requires_grad).grad.view(-1)[5] = torch.nan
        return loss


class Snapshots(TrainerCallback):
    """The weights after each step."""

    def __init__(self) -> None:
        self.after: list[list[torch.Tensor]] = []

    def on_step_end(self, *_: Any, model: Any, **kwargs: Any) -> None:
        self.after.append([p.detach().clone() for p in model.parameters()])


def seen(guard: TrainGuardCallback) -> list[StepFacts]:
    return list(guard._guard._steps)


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
@pytest.mark.parametrize("on_finding", ["stop", "raise"])
@pytest.mark.parametrize("wrap", [tiny.lora, lambda model: model], ids=["lora", "full"])
def test_a_run_ends_before_the_poisoned_update(
    wrap: Any, on_finding: Any, max_grad_norm: float, tmp_path: Path
) -> None:
    guard, snapshots = TrainGuardCallback(on_finding=on_finding), Snapshots()
    trainer = tiny.trainer(
        wrap(tiny.model()),
        tmp_path,
        PlantNaN,
        callbacks=[guard, snapshots],
        max_grad_norm=max_grad_norm,
    )

    if on_finding == "raise":
        with pytest.raises(TrainGuardError, match="nonfinite-gradients"):
            trainer.train()
    else:
        trainer.train()
        assert trainer.state.global_step == BAD_STEP

    assert [cause.code for cause in guard.report.causes] == ["TG401"]
    assert guard.report.causes[0].location.step == BAD_STEP
    now = [p.detach() for p in trainer.model.parameters()]
    assert all(p.isfinite().all() for p in now)
    assert same(now, snapshots.after[BAD_STEP - 2])
    assert not same(now, snapshots.after[0])


class Calls:
    """A gradient hook that plants an infinity the third time."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return gradient / 0 if self.count == BAD_STEP else gradient


@pytest.mark.parametrize("on_finding", ["stop", "raise"])
def test_a_plain_loop_ends_before_the_poisoned_update(on_finding: Any) -> None:
    model = tiny.model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.lm_head.weight.register_hook(Calls())
    batch = {name: torch.tensor(value) for name, value in tiny.rows(4)[:].items()}
    before: list[torch.Tensor] = []

    def train() -> None:
        with watch(model, optimizer, on_finding=on_finding) as guard:
            for _ in range(6):
                model(**batch).loss.backward()
                if not guard.stop_requested:
                    before[:] = [p.detach().clone() for p in model.parameters()]
                optimizer.step()
                optimizer.zero_grad()

    if on_finding == "raise":
        with pytest.raises(TrainGuardError, match="step 3"):
            train()
    else:
        train()
    assert same([p.detach() for p in model.parameters()], before)


class Cosmetic(TrainerCallback):
    """Prints a better loss than there is."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            logs["loss"] = 0.01


@pytest.mark.parametrize("first", [True, False])
def test_what_is_printed_is_seen_beside_what_was_logged(first: bool, tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    callbacks = [Cosmetic(), guard] if first else [guard, Cosmetic()]
    tiny.trainer(tiny.model(), tmp_path, callbacks=callbacks).train()

    for step in seen(guard):
        assert step.logged_loss == pytest.approx(step.loss, rel=1e-3)
        assert step.printed_loss == 0.01


def test_an_untouched_log_is_printed_as_it_is(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, callbacks=[guard]).train()

    assert [step.printed_loss for step in seen(guard)] == [step.logged_loss for step in seen(guard)]


def test_an_evaluation_stands_at_the_step_that_it_follows(tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    trainer = tiny.trainer(
        tiny.model(),
        tmp_path,
        callbacks=[guard],
        eval_strategy="steps",
        eval_steps=2,
        eval_dataset=tiny.rows(8, seed=1),
    )
    trainer.train()

    losses = {step.step: step.eval_loss for step in seen(guard) if step.eval_loss is not None}
    logged = {e["step"]: e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e}
    assert losses == logged
    assert sorted(losses) == [2, 4, 6]


def test_the_model_s_own_loss_is_seen_beside_the_one_returned(tmp_path: Path) -> None:
    class Scaled(Trainer):
        def compute_loss(self, model: Any, inputs: Any, **kwargs: Any) -> torch.Tensor:
            return model(**inputs).loss * 2

    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, Scaled, callbacks=[guard]).train()

    for step in seen(guard):
        assert step.model_loss is not None
        assert step.loss == pytest.approx(2 * step.model_loss, rel=1e-5)


@pytest.mark.parametrize("taken_away", [True, False])
def test_gradients_that_are_gone_when_the_optimizer_runs_are_counted(
    taken_away: bool, tmp_path: Path
) -> None:
    class Zeroing(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, model: Any, **kwargs: Any) -> None:
            for parameter in model.parameters():
                if taken_away:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, callbacks=[guard, Zeroing()]).train()

    for step in seen(guard):
        assert step.sampled
        assert step.zeroed == step.sampled
        assert step.moved == 0


@pytest.mark.parametrize("max_grad_norm", [1.0, 1e-4, 0.0])
def test_clipping_zeroes_nothing(max_grad_norm: float, tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    tiny.trainer(tiny.model(), tmp_path, callbacks=[guard], max_grad_norm=max_grad_norm).train()

    for step in seen(guard):
        assert (step.zeroed, step.nonfinite_at_step) == (0, 0)
        assert step.update_ratio is not None
        assert 1e-5 < step.update_ratio < 0.5


def test_the_size_of_an_update_is_that_of_the_sample() -> None:
    model = torch.nn.Linear(8, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with watch(model, optimizer) as guard:
        before = model.weight.detach().clone()
        model(torch.ones(2, 8)).sum().backward()
        optimizer.step()

    (step,) = guard._guard._steps
    change = model.weight.detach() - before
    assert step.update_ratio == pytest.approx(float(change.norm() / before.norm()))
