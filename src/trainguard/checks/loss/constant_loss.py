"""The loss is the same number at every step.

## Why is this bad?
Batches differ, so their losses do: a loss that repeats to the last bit does not come from the
data. It was replaced by a constant, computed from a detached value, or stands for a NaN that the
log hides; exactly 0.0 without a gradient, it comes from labels that are all ignored.

A model that learns nothing still has a loss that varies with the batches; this check does not
look for a plateau.

## Example
```steps
steps=1-10 loss=2.302585 grad_norm=0.7   # TG503
```

```steps
steps=1-10 logged_loss=0.0 grad_norm=nan   # TG503
```

## Instead
Return the model's own loss, or stop the run where it is not finite.

```steps
steps=1-9 loss=2.302585 grad_norm=0.7
step=10 loss=2.302586 grad_norm=0.7
```

On-policy GRPO logs a loss of exactly 0.0 while it learns:

```steps
steps=1-20 logged_loss=0.0 grad_norm=0.4
```

Older logs round to four decimals, so small losses repeat by themselves:

```steps
steps=1-20 logged_loss=0.0001 grad_norm=0.4
```

DPO starts at ln 2, and the rounded loss stays there through a warm-up:

```steps
steps=1-20 logged_loss=0.6931 grad_norm=0.4
```

## Source
Ten logged losses in a row: rounded to four decimals, a loss above 0.01 repeats ten times by
chance in no healthy run of the 49-run comparison. GRPO measured with trl 1.16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import isfinite

from trainguard.facts.steps import StepFacts, place, units
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 10
ROUNDING_FLOOR = 0.01
ROUNDED_LN_2 = 0.6931


@check("TG503", severity=Severity.ERROR, precision=Precision.HIGH, explains=("TG402",))
def constant_loss(
    steps: Sequence[StepFacts], *, in_a_row: int = STEPS
) -> Iterator[Finding | NotChecked]:
    """Fire at the first of ten or more consecutive steps with one and the same loss."""
    key = "loss" if any(step.loss is not None for step in steps) else "logged_loss"
    seen = [step for step in steps if getattr(step, key) is not None]
    if len(seen) < in_a_row:
        yield NotChecked(f"{len(seen)} losses were observed; {in_a_row} are needed")
        return
    for value, group in groupby(seen, key=lambda step: getattr(step, key)):
        run = list(group)
        if len(run) >= in_a_row and _is_suspicious(value, run):
            yield Finding(
                f"{run[0].name}: the loss is exactly {value:.6g} for {len(run)} {units(run)}, so "
                "it does not come from the batches",
                fix="look for labels that are all ignored, a compute_loss that returns a constant "
                "or a detached value, and a NaN that the log replaced",
                location=place(steps, run[0], key),
                evidence={"value": value, "steps": len(run)},
            )
            return


def _is_suspicious(value: float, run: Sequence[StepFacts]) -> bool:
    if not isfinite(value):
        return False
    if value not in (0.0, ROUNDED_LN_2):
        return abs(value) > ROUNDING_FLOOR
    return all(_teaches_nothing(step) for step in run)


def _teaches_nothing(step: StepFacts) -> bool:
    return step.grad_norm is not None and (step.grad_norm == 0.0 or not isfinite(step.grad_norm))
