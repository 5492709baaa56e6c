"""With and without trainguard, a run is the same to the last bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Trainer
from trl import SFTTrainer

from trainguard import TrainGuardCallback

import tiny

TIMINGS = ("runtime", "per_second", "total_flos")


def outcome(trainer: Trainer) -> dict[str, Any]:
    """Everything a run leaves: weights, optimizer state, random number generators, logs."""
    trainer.train()
    return {
        "parameters": {n: p.detach().clone() for n, p in trainer.model.named_parameters()},
        "buffers": {n: b.detach().clone() for n, b in trainer.model.named_buffers()},
        "optimizer": trainer.optimizer.state_dict()["state"],
        "training": [module.training for module in trainer.model.modules()],
        "requires_grad": [p.requires_grad for p in trainer.model.parameters()],
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state(),
        "logs": [
            {k: v for k, v in log.items() if not any(timing in k for timing in TIMINGS)}
            for log in trainer.state.log_history
        ],
    }


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        # Bits, not values: a NaN equals itself here and -0.0 differs from 0.0.
        return left.dtype == right.dtype and left.numpy().tobytes() == right.numpy().tobytes()
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))


def run(
    kind: type, wrap: Any, folder: Path, callbacks: list[Any], **options: Any
) -> dict[str, Any]:
    trainer = tiny.trainer(
        wrap(tiny.model()), folder, kind, callbacks=callbacks, max_grad_norm=0.5, **options
    )
    return outcome(trainer)


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 3, "logging_steps": 2}])
@pytest.mark.parametrize("wrap", [tiny.lora, lambda model: model], ids=["lora", "full"])
@pytest.mark.parametrize("kind", [Trainer, SFTTrainer])
def test_a_watched_run_is_bit_identical(
    kind: type, wrap: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    plain = run(kind, wrap, tmp_path / "plain", [], **options)
    watched = run(kind, wrap, tmp_path / "watched", [TrainGuardCallback()], **options)

    for part, value in plain.items():
        assert same(value, watched[part]), part


def test_a_run_full_of_findings_is_bit_identical_too(tmp_path: Path) -> None:
    plain = run(tiny.poisoned(from_step=3), tiny.lora, tmp_path / "plain", [])
    guard = TrainGuardCallback()
    watched = run(tiny.poisoned(from_step=3), tiny.lora, tmp_path / "watched", [guard])

    assert guard.report.findings
    for part, value in plain.items():
        assert same(value, watched[part]), part


def test_the_comparison_itself_notices_one_changed_bit() -> None:
    left = {"weights": torch.zeros(3)}
    right = {"weights": torch.tensor([0.0, -0.0, 0.0])}

    assert same(left, {"weights": torch.zeros(3)})
    assert not same(left, right)
