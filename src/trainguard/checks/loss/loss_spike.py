"""One update with an outsize gradient, and the loss has not come back since.

## Why is this bad?
A single batch moved the weights so far that the model did not find back. Most spikes recover
within some steps; one that does not has cost everything that was learned before it.

## Example
```steps
steps=1-9 loss=1.3 grad_norm=1.1
step=10 loss=1.6 grad_norm=240.0   # TG508
steps=11-30 loss=4.8 grad_norm=2.0
```

## Instead
Go back to the checkpoint before this step, clip gradients (`max_grad_norm=1.0`) and look at the
batch of the step.

A spike that recovers is part of many healthy runs, and clipping takes the harm out of it:

```steps
steps=1-9 loss=1.3 grad_norm=1.1
step=10 loss=1.6 grad_norm=240.0
steps=11-16 loss=4.8 grad_norm=2.0
steps=17-30 loss=1.4 grad_norm=1.1
```

Data that become harder raise the loss without any outsize gradient before:

```steps
steps=1-10 loss=1.3 grad_norm=1.1
steps=11-40 loss=2.9 grad_norm=2.5
```

## Source
A gradient norm of ten times the median of the eight steps before it, a loss that is afterwards
above one and a half times the highest of these eight (and 1 nat) in at least sixteen steps, all
there are. Spikes of pre-training that are left alone recover in fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.checks._trend import LEAST_LOSS, WINDOW, finite_until_bad, loss_key, median
from trainguard.facts.steps import StepFacts, place, shown
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

OUTSIZE = 10.0
FACTOR = 1.5
AFTER = 16


@check(
    "TG508",
    severity=Severity.WARNING,
    precision=Precision.HIGH,
    explains=("TG408", "TG507"),
)
def loss_spike(
    steps: Sequence[StepFacts], *, outsize: float = OUTSIZE, factor: float = FACTOR
) -> Iterator[Finding | NotChecked]:
    """Fire at the step of an outsize gradient from which the loss did not recover."""
    key = loss_key(steps)
    seen = [step for step in finite_until_bad(steps, key) if step.grad_norm is not None]
    if len(seen) < WINDOW + 1 + AFTER:
        needed = WINDOW + 1 + AFTER
        yield NotChecked(f"{len(seen)} losses with a gradient norm were observed, {needed} needed")
        return
    losses = [getattr(step, key) for step in seen]
    lowest = losses[-1]
    wrecked: tuple[StepFacts, float, float] | None = None
    for index in range(len(seen) - 1, WINDOW - 1, -1):
        before = losses[index - WINDOW : index]
        enough = len(seen) - index > AFTER
        if (
            enough
            and lowest > max(factor * max(before), LEAST_LOSS)
            and _is_outsize(seen, index, outsize)
        ):
            wrecked = seen[index], max(before), lowest
        lowest = min(lowest, losses[index])
    if wrecked is None:
        return
    step, before_it, since = wrecked
    yield Finding(
        f"{step.name}: after a gradient norm of {shown(step.grad_norm or 0.0)} the loss, at "
        f"most {shown(before_it)} in the {WINDOW} steps before, is at least {shown(since)} at "
        "every later step, so one update undid what was learned",
        fix="go back to the checkpoint before this step, clip the gradients and look at its batch",
        location=place(steps, step, "grad_norm"),
        evidence={"grad_norm": step.grad_norm, "before": before_it, "lowest_since": since},
    )


def _is_outsize(seen: Sequence[StepFacts], index: int, factor: float) -> bool:
    usual = median([step.grad_norm or 0.0 for step in seen[index - WINDOW : index]])
    return usual > 0.0 and (seen[index].grad_norm or 0.0) >= factor * usual
