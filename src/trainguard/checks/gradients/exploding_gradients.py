"""The gradient norm has grown by orders of magnitude and stays there.

## Why is this bad?
Clipping keeps the update small, so the loss may look fine for a while, but the direction of such
a gradient comes from a few values that run away: overflow, NaN or a loss that rises are next.

## Example
```steps
steps=1-16 loss=1.9 grad_norm=1.2
steps=17-26 loss=1.9 grad_norm=900.0   # TG408
```

## Instead
Lower the learning rate, warm up, go back to a checkpoint before the rise.

Single outliers are what clipping is for:

```steps
steps=1-16 loss=1.9 grad_norm=1.2
step=17 loss=1.9 grad_norm=900.0
steps=18-26 loss=1.9 grad_norm=1.3
```

A gradient that begins small, as that of fresh LoRA factors or of rewards without any difference,
grows by orders of magnitude and is not large:

```steps
steps=1-16 loss=1.9 grad_norm=0.001
steps=17-40 loss=1.9 grad_norm=1.5
```

A loss that is summed has large gradients all the time:

```steps
steps=1-40 loss=1900.0 grad_norm=40000.0
```

## Source
Every one of the last eight norms (of a long run, of its last eighth) above a hundred times the
highest of an earlier stretch as long, and above 10, ten times the usual limit of clipping. In 179
healthy runs of up to 250 steps the fourth highest norm is at most 3.6 times the fourth lowest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.checks._trend import WINDOW, finite_until_bad, lasting_rise
from trainguard.facts.steps import StepFacts, place, shown, units
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

FACTOR = 100.0
LEAST = 10.0


@check(
    "TG408",
    severity=Severity.WARNING,
    precision=Precision.MEDIUM,
    explains=("TG507", "TG508"),
)
def exploding_gradients(
    steps: Sequence[StepFacts], *, factor: float = FACTOR, least: float = LEAST
) -> Iterator[Finding | NotChecked]:
    """Fire if the last gradient norms are all far above those that the run once had."""
    seen = finite_until_bad(steps, "grad_norm")
    if len(seen) < 2 * WINDOW:
        yield NotChecked(
            f"{len(seen)} finite gradient norms were observed; {2 * WINDOW} are needed"
        )
        return
    norms = [step.grad_norm or 0.0 for step in seen]
    rise = lasting_rise(norms, factor, least)
    if rise is None:
        return
    since = norms[rise.onset :]
    yield Finding(
        f"{seen[rise.onset].name}: the gradient norm, once at most {shown(rise.level)}, "
        f"is at least {shown(min(since))} in all of the {len(since)} {units(steps)} since, so "
        "clipping is all that holds the weights",
        fix="lower the learning rate, warm up, and go back to a checkpoint before this step",
        location=place(steps, seen[rise.onset], "grad_norm"),
        evidence={"level": rise.level, "lowest_since": min(since), "steps": len(since)},
    )
