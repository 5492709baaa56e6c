"""Assertions on pieces of training code: equivalence, resumption, precision, host syncs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainguard import testing

ROWS = torch.arange(24.0).reshape(8, 3) / 24


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def accumulated(model: Any, optimizer: Any, parts: int, *, scaled: bool = True) -> None:
    optimizer.zero_grad()
    for part in ROWS.chunk(parts):
        loss = model(part).pow(2).mean()
        (loss / parts if scaled else loss).backward()
    optimizer.step()


def test_accumulation_is_equivalent_if_it_is_scaled() -> None:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.weight.clone()

    def whole() -> None:
        accumulated(model, optimizer, 1)

    testing.assert_equivalent_training(
        model, whole, lambda: accumulated(model, optimizer, 4), optimizer
    )
    with pytest.raises(AssertionError, match=r"2 of 2 parameters differ, weight|bias"):
        testing.assert_equivalent_training(
            model, whole, lambda: accumulated(model, optimizer, 4, scaled=False), optimizer
        )
    with pytest.raises(AssertionError, match="neither of the two changes a weight"):
        testing.assert_equivalent_training(model, lambda: None, lambda: None)
    assert torch.equal(model.weight, before)


def setup() -> tuple[Any, Any, Any]:
    model = nn.Sequential(linear(), nn.Dropout(0.5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)


def step(parts: Any, index: int) -> None:
    model, optimizer, scheduler = parts
    model(ROWS + index).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    scheduler.step()


@pytest.mark.parametrize(("saved", "resumes"), [(3, True), (2, False), (1, False)])
def test_a_checkpoint_without_optimizer_or_schedule_shows(saved: int, resumes: bool) -> None:
    def save(parts: Any, folder: Path) -> None:
        torch.save([one.state_dict() for one in parts[:saved]], folder / "checkpoint")

    def load(parts: Any, folder: Path) -> None:
        for one, state in zip(parts, torch.load(folder / "checkpoint"), strict=False):
            one.load_state_dict(state)

    state = torch.get_rng_state()
    if resumes:
        testing.assert_resume_equivalent(setup, step, save=save, load=load)
        testing.assert_resume_equivalent(setup, step)
    else:
        with pytest.raises(AssertionError, match="after resuming at step 3 of 6"):
            testing.assert_resume_equivalent(setup, step, save=save, load=load)
    assert torch.equal(torch.get_rng_state(), state)


def test_autocast_gives_nearly_the_same_losses_unless_a_sum_overflows() -> None:
    model = linear()
    testing.assert_mixed_precision_step(model, ROWS, loss=lambda m, b: m(b).float().pow(2).mean())
    with pytest.raises(AssertionError, match=r"step 1: the loss is (inf|nan) under autocast"):
        testing.assert_mixed_precision_step(
            model, ROWS * 1e6, dtype=torch.float16, loss=lambda m, b: m(b).pow(2).mean()
        )
    with pytest.raises(AssertionError, match="not float32"):
        testing.assert_mixed_precision_step(model.half(), ROWS)


def test_a_read_on_the_host_is_named_with_its_line() -> None:
    model = linear()
    optimizer = torch.optim.AdamW(model.parameters())

    def quiet() -> None:
        model(ROWS).mean().backward()
        optimizer.step()

    def loud() -> None:
        model(ROWS).mean().item()

    testing.assert_no_host_sync(quiet)
    with pytest.raises(AssertionError, match=r"test_run_assertions\.py:\d+: model\(ROWS\)"):
        testing.assert_no_host_sync(loud)
