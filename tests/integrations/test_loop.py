"""`watch` in plain PyTorch loops."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainguard import TrainGuardError, check, watch
from trainguard.findings import Report

import tiny


def batches(count: int) -> Iterator[dict[str, torch.Tensor]]:
    rows = tiny.rows(count * 4)
    for start in range(0, count * 4, 4):
        yield {name: torch.tensor(values) for name, values in rows[start : start + 4].items()}


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int = 12,
    clip: float | None = 1.0,
    change_loss: Callable[[int, torch.Tensor], torch.Tensor] = lambda step, loss: loss,
) -> None:
    for step, batch in enumerate(batches(steps), start=1):
        change_loss(step, model(**batch).loss).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()


def causes(report: Report) -> list[tuple[str, int | None]]:
    return [(cause.code, cause.location.step) for cause in report.causes]


def adamw(model: torch.nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-3)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_healthy_loop_has_no_finding(clip: float | None) -> None:
    model = tiny.lora(tiny.model())
    optimizer = adamw(model)
    with watch(model, optimizer) as guard:
        train(model, optimizer, clip=clip)

    assert guard.report.findings == ()
    assert {"TG203", "TG301", "TG401", "TG402", "TG403", "TG502"} <= set(guard.report.checked)


def test_a_loop_is_bit_identical_when_it_is_watched() -> None:
    def weights(watched: bool) -> list[bytes]:
        model = tiny.lora(tiny.model())
        optimizer = adamw(model)
        if watched:
            with watch(model, optimizer):
                train(model, optimizer)
        else:
            train(model, optimizer)
        states = [*(p.detach() for p in model.parameters()), torch.get_rng_state()]
        return [state.numpy().tobytes() for state in states]

    assert weights(watched=True) == weights(watched=False)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_nan_gradient_is_named_at_its_step(clip: float | None) -> None:
    model = tiny.model()
    optimizer = adamw(model)
    calls = []

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * float("nan") if len(calls) == 3 else gradient

    model.model.norm.weight.register_hook(poison)
    with watch(model, optimizer) as guard:
        train(model, optimizer, steps=5, clip=clip)

    assert causes(guard.report) == [("TG401", 3)]
    assert guard.report.causes[0].evidence["parameters"] == ["model.norm.weight"]


def test_a_nan_that_the_loop_logs_as_zero_is_named(tmp_path: Path) -> None:
    model = tiny.model()
    optimizer = adamw(model)
    model.register_forward_hook(lambda m, args, out: _spoil(out) if len(seen) == 2 else None)
    seen: list[float] = []
    with watch(model, optimizer, output_dir=tmp_path) as guard:
        for batch in batches(4):
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            seen.append(loss.item() if torch.isfinite(loss) else 0.0)
            guard.log(seen[-1])

    assert causes(guard.report) == [("TG501", 3)]
    assert causes(check(tmp_path)) == [("TG501", 3)]


def _spoil(output: Any) -> Any:
    output["loss"] = output.loss * float("nan")
    return output


def test_a_stale_optimizer_is_named_before_the_first_step() -> None:
    base = tiny.model()
    optimizer = torch.optim.SGD(base.parameters(), lr=0.1)
    model = tiny.lora(base)
    with pytest.raises(TrainGuardError, match="8 trainable tensors"):
        with watch(model, optimizer, on_finding="raise"):
            pytest.fail("the loop was entered")


def test_labels_that_are_all_ignored_are_named() -> None:
    model = tiny.model()
    optimizer = adamw(model)
    with watch(model, optimizer) as guard:
        for batch in batches(4):
            model(**batch | {"labels": torch.full_like(batch["labels"], -100)}).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    assert causes(guard.report) == [("TG301", 1)]


def test_accumulated_micro_batches_are_one_step() -> None:
    model = tiny.model()
    optimizer = adamw(model)
    with watch(model, optimizer) as guard:
        for number, batch in enumerate(batches(6), start=1):
            (model(**batch).loss / 2).backward()
            if number % 2 == 0:
                optimizer.step()
                optimizer.zero_grad()

    assert guard.report.findings == ()
    assert guard._step == 3


def test_everything_is_restored_when_the_block_ends() -> None:
    model = tiny.model()
    optimizer = adamw(model)
    original = torch.autograd.backward
    with pytest.raises(KeyError, match="user"):
        with watch(model, optimizer):
            assert torch.autograd.backward is not original
            raise KeyError("user")

    assert torch.autograd.backward is original
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_a_killed_loop_keeps_its_evidence(tmp_path: Path) -> None:
    model = tiny.model()
    optimizer = adamw(model)
    guard = watch(model, optimizer, output_dir=tmp_path).__enter__()
    train(model, optimizer, steps=3)
    lines = (tmp_path / "trainguard" / "steps.jsonl").read_text().splitlines()
    guard.__exit__(None, None, None)

    kinds = [json.loads(line)["kind"] for line in lines]
    assert {"layers", "layer-step"} < set(kinds)
    assert [kind for kind in kinds if not kind.startswith("layer")] == [
        "run",
        "model",
        "optimizer",
        "step",
        "step",
        "step",
    ]


def test_backward_from_several_tensors_and_from_an_edge_is_watched() -> None:
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as guard:
        for _ in range(2):
            loss = model(torch.ones(2, 3)).sum()
            torch.autograd.backward((loss, loss * 2), retain_graph=True)
            torch.autograd.backward(torch.autograd.graph.get_gradient_edge(loss))
            optimizer.step()
            optimizer.zero_grad()

    assert guard.report.findings == ()
    assert "TG402" in guard.report.checked


def test_a_closure_that_is_evaluated_many_times_is_one_step() -> None:
    model = tiny.model()
    ids = torch.tensor(tiny.rows(4)["input_ids"])
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=15)
    evaluations = 0

    def closure() -> torch.Tensor:
        nonlocal evaluations
        evaluations += 1
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        return loss

    with watch(model, optimizer) as guard:
        for _ in range(2):
            optimizer.step(closure)

    assert evaluations > 20
    assert guard.report.findings == ()


def test_a_step_whose_gradients_are_dropped_is_a_step_that_was_skipped(tmp_path: Path) -> None:
    model = tiny.model()
    ids = torch.tensor(tiny.rows(4)["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with watch(model, optimizer, output_dir=tmp_path) as guard:
        for step in range(1, 5):
            model(input_ids=ids, labels=ids).loss.backward()
            if step != 2:
                optimizer.step()
            optimizer.zero_grad()

    lines = (tmp_path / "trainguard" / "steps.jsonl").read_text().splitlines()
    steps = [entry for entry in map(json.loads, lines) if entry["kind"] == "step"]
    assert [(entry["step"], entry["stepped"]) for entry in steps] == [
        (1, True),
        (2, False),
        (3, True),
        (4, True),
    ]
    assert guard.report.findings == ()
