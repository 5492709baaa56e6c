"""The evaluation loss rises while the training loss falls.

## Why is this bad?
The model learns its training rows by heart. The last checkpoint is worse than an earlier one
wherever the likelihood of new text counts. Where answers are sampled and graded it may still be
better, so this is a warning.

## Example
```steps
steps=1-9 loss=2.6
step=10 loss=2.5 eval_loss=2.50
steps=11-19 loss=2.0
step=20 loss=1.9 eval_loss=2.30
steps=21-29 loss=1.2
step=30 loss=1.1 eval_loss=2.60
step=40 loss=0.8 eval_loss=2.90
step=50 loss=0.5 eval_loss=3.30   # TG510
```

## Instead
Keep the best checkpoint (`load_best_model_at_end=True`), stop there, train fewer epochs or on
more data.

A single bad evaluation, or evaluations that wander, are noise:

```steps
steps=1-10 loss=2.5 eval_loss=2.30
step=11 loss=2.0 eval_loss=2.60
step=12 loss=2.0 eval_loss=2.31
step=13 loss=2.0 eval_loss=2.62
step=14 loss=2.0 eval_loss=2.33
```

Where both rise the fault is another one:

```steps
steps=1-5 loss=2.0 eval_loss=2.0
step=6 loss=3.0 eval_loss=3.0
step=7 loss=4.0 eval_loss=4.0
step=8 loss=5.0 eval_loss=5.0
step=9 loss=6.0 eval_loss=6.0
```

## Source
The last three evaluations, none lower than the one before it or than any other since the best,
and each at least 10 % above the best. Of 400 simulated runs whose evaluations only wander or
scatter, by up to 10 %, two show it. Debuggers that judge one evaluation alarm on noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from trainguard.checks._trend import finite_until_bad, loss_key, median
from trainguard.facts.steps import StepFacts, place, shown
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

RISING = 3
FACTOR = 1.1


@check("TG510", severity=Severity.WARNING, precision=Precision.MEDIUM)
def overfitting(
    steps: Sequence[StepFacts], *, factor: float = FACTOR
) -> Iterator[Finding | NotChecked]:
    """Fire at the last evaluation if the last three climb while the training loss falls."""
    evaluated = finite_until_bad(steps, "eval_loss")
    if len(evaluated) <= RISING:
        yield NotChecked(f"{len(evaluated)} evaluations were observed; {RISING + 1} are needed")
        return
    values = [step.eval_loss or 0.0 for step in evaluated]
    lowest = min(values)
    best = evaluated[values.index(lowest)]
    last = values[-RISING:]
    if lowest <= 0.0 or not _rises(values, factor) or not _training_falls(steps, best):
        return
    yield Finding(
        f"{evaluated[-1].name}: the evaluation loss has risen from {shown(lowest)} at "
        f"{best.name} to {shown(last[-1])} while the training loss fell, so the model learns its "
        "training rows by heart",
        fix=f"keep the checkpoint of {best.name} (load_best_model_at_end=True), or train on "
        "more data",
        location=place(steps, evaluated[-1], "eval_loss", also=best),
        evidence={"best": lowest, "best_step": best.step, "last": last[-1]},
    )


def _rises(values: Sequence[float], factor: float) -> bool:
    """Whether the last evaluations climb from one to the next, above all since the best one."""
    lowest = min(values)
    since_best = values[values.index(lowest) : -RISING]
    last = values[-RISING:]
    climbs = all(earlier <= later for earlier, later in pairwise(last))
    return climbs and last[0] >= max([factor * lowest, *since_best])


def _training_falls(steps: Sequence[StepFacts], best: StepFacts) -> bool:
    """Compare the losses since the best evaluation with as many before it, three at least."""
    key = loss_key(steps)
    seen = finite_until_bad(steps, key)
    since = [getattr(step, key) for step in seen if step.step > best.step]
    before = [getattr(step, key) for step in seen if step.step <= best.step][-len(since) :]
    return min(len(since), len(before)) >= RISING and median(since) < median(before)
