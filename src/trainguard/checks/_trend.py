"""Levels of a noisy series, taken so that outliers and short runs do not mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import isfinite

from trainguard.facts.steps import StepFacts, observed

#: Values that make a level. By chance alone all of eight exceed all of eight others once in
#: 12870 (16 choose 8).
WINDOW = 8

#: Nats per token below which the level of a loss is not judged. The losses of reinforcement
#: learning lie there (a penalty on the KL divergence begins at 0 and grows by design).
LEAST_LOSS = 1.0


@dataclass(frozen=True, slots=True)
class Rise:
    """A rise that lasts to the end of the series."""

    level: float
    """Highest value of the lowest window before it."""
    onset: int
    """Index of the first value of the higher stretch."""


def loss_key(steps: Sequence[StepFacts]) -> str:
    """The field with the run's losses: the live one, or else that of the log."""
    return "loss" if any(step.loss is not None for step in steps) else "logged_loss"


def finite_until_bad(steps: Sequence[StepFacts], key: str) -> list[StepFacts]:
    """The steps that state a value, up to the first that is not finite: other checks judge that."""
    return list(takewhile(lambda step: isfinite(getattr(step, key)), observed(steps, key)))


def median(values: Sequence[float]) -> float:
    """The middle value, the mean of the two middle ones; values must not be empty."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def lasting_rise(values: Sequence[float], factor: float, floor: float) -> Rise | None:
    """A last stretch of which every value is far above every value of some earlier window.

    A window is an eighth of the series, at least eight values: the noisier values of a longer
    series then need a clearer rise.

    Args:
        values: positive, in order.
        factor: how many times the highest value of the window each of the stretch must exceed.
        floor: what each of the stretch must exceed in any case.
    """
    size = max(WINDOW, len(values) // 8)
    starts = range(0, len(values) - 2 * size + 1, size)
    if not starts:
        return None
    level = min(max(values[start : start + size]) for start in starts)
    onset = start_of_end_above(values, max(factor * level, floor))
    return Rise(level, onset) if len(values) - onset >= size else None


def start_of_end_above(values: Sequence[float], threshold: float) -> int:
    """Index from which on every value is above a threshold; the length if the last is not."""
    below = (index for index in range(len(values) - 1, -1, -1) if values[index] <= threshold)
    return next(below, -1) + 1


def at_peak_rate(steps: Sequence[StepFacts]) -> list[StepFacts]:
    """The steps since the highest learning rate that trained with half of it or more.

    Updates are small by design in a warm-up and at the end of most schedules. Empty if the run's
    first step is not among the steps: its highest rate is then not known.
    """
    if not steps or steps[0].step != 1:
        return []
    rates = [max(step.learning_rates or (0.0,)) for step in steps]
    peak = max(rates)
    return [
        step
        for step, rate in list(zip(steps, rates, strict=True))[rates.index(peak) :]
        if 2 * rate >= peak and step.trains
    ]
