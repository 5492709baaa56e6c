"""The loss is NaN or infinite.

## Why is this bad?
The backward pass of a NaN gives NaN gradients in most models, and the update then destroys the
weights. The first such step is the one to look at: all later ones only repeat it.

## Example
```steps
step=6 loss=2.1
step=7 loss=nan logged_loss=nan   # TG502
step=8 loss=nan logged_loss=nan
```

Without a live loss the log is what there is:

```steps
step=6 logged_loss=2.1
step=7 logged_loss=nan   # TG502
```

## Instead
Look at the batch of this step, its number of labels and the precision of the forward pass.

```steps
step=6 loss=2.1 logged_loss=2.1
step=7 loss=65504.0 logged_loss=65504.0
```

## Source
The definition of a finite number. A step that a gradient scaler skipped leaves the weights alone
and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from trainguard.facts.steps import StepFacts, place, units
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check(
    "TG502",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG106", "TG130", "TG144", "TG401", "TG402", "TG403", "TG503"),
)
def nonfinite_loss(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first step whose loss is not finite."""
    seen = [(step, key) for step in steps if (key := _stated(step)) is not None]
    if not seen:
        yield NotChecked("no loss was observed")
        return
    bad = [(step, key) for step, key in seen if not isfinite(getattr(step, key))]
    if not bad:
        return
    step, key = bad[0]
    yield Finding(
        f"{step.name}: the loss is {getattr(step, key)}, and its gradients destroy the "
        f"weights ({len(bad)} of {len(seen)} {units(steps)})",
        fix="look at the batch of this step: labels, lengths, and values that overflow in the "
        "precision of the forward pass",
        location=place(steps, step, key),
        evidence={"steps": len(bad), "observed": len(seen)},
    )


def _stated(step: StepFacts) -> str | None:
    """The field that holds the step's loss, the live one first; None if it was skipped."""
    if step.stepped is False:
        return None
    return next((key for key in ("loss", "logged_loss") if getattr(step, key) is not None), None)
