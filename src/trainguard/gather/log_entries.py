"""What one entry of a training log states, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

#: By field, the names under which logs have it, the surest first: transformers, TRL, Weights &
#: Biases, Lightning, accelerate, axolotl, LLaMA-Factory.
NAMES: Mapping[str, tuple[str, ...]] = {
    "step": ("train/global_step", "global_step", "step", "current_steps", "_step"),
    "epoch": ("epoch", "train/epoch"),
    "loss": ("loss", "train/loss", "train_loss", "train_loss_step"),
    "grad_norm": ("grad_norm", "train/grad_norm", "train_grad_norm"),
    "learning_rate": (
        *("learning_rate", "train/learning_rate", "lr", "train/lr"),
        *("lr-adamw", "lr-adam", "lr-sgd"),
    ),
    "eval_loss": ("eval_loss", "eval/loss", "val_loss", "val/loss", "validation_loss"),
}
#: Stands in the summary at the end of a run, which repeats the mean of all losses.
_SUMMARY = ("train_runtime", "train/train_runtime")
_MAX_DIGITS = 40
_MAX_STEP = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One entry of a log: a training step, or an evaluation. None stands for "not stated"."""

    line: int | None = None
    """Line of the file, from 1."""
    step: int | None = None
    epoch: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    eval_loss: float | None = None

    @property
    def is_training(self) -> bool:
        """Whether it states the loss of a training step."""
        return self.loss is not None


def entry_of(values: Mapping[str, Any], line: int | None) -> LogEntry | None:
    """The entry that names and values make; None if they are no entry of a training log.

    A loss alone is none: data sets have a column of that name too.

    Args:
        values: numbers, or numbers as text; anything else is left out.
        line: of the file, from 1.
    """
    stated = {_plain(name): value for name, value in values.items()}
    if _first(stated, _SUMMARY) is not None:
        return None
    found = {field: _first(stated, names) for field, names in NAMES.items()}
    step = _whole(found.pop("step"))
    # A learning rate is never NaN: so a data frame states what it does not have.
    if found["learning_rate"] is not None and isnan(found["learning_rate"]):
        found |= {"loss": None, "grad_norm": None, "learning_rate": None}
    entry = LogEntry(line=line, step=step, **found)
    is_loss = entry.is_training or entry.eval_loss is not None
    context = (step, entry.epoch, entry.grad_norm, entry.learning_rate)
    return entry if is_loss and any(value is not None for value in context) else None


def has_columns(names: Iterable[str]) -> bool:
    """Whether columns of these names can make an entry."""
    return entry_of({name: 1 for name in names if _plain(name) not in _SUMMARY}, None) is not None


def number(value: Any) -> float | None:
    """A number, or a text that is one; None for anything else."""
    if (isinstance(value, str) and len(value) > _MAX_DIGITS) or isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        return None


def _plain(name: str) -> str:
    """The name itself: exports of Weights & Biases put the run's before it."""
    return name.rpartition(" - ")[2].strip().lower()


def _first(stated: Mapping[str, Any], names: Iterable[str]) -> float | None:
    values = (number(stated.get(name)) for name in names)
    return next((value for value in values if value is not None), None)


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and 0 <= value < _MAX_STEP and value % 1 == 0 else None
