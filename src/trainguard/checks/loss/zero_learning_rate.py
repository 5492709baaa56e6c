"""The learning rate is zero.

## Why is this bad?
The optimizer runs and changes nothing. A scheduler that was told fewer steps than the run has
ends at zero and stays there; a warm-up longer than the run never leaves it.

The first step of a warm-up is at zero by design, and so is the end of most schedules: only five
steps in a row are a fault.

## Example
```steps
step=1 lr=0.0 grad_norm=1.1
steps=2-7 lr=0.0 grad_norm=1.1   # TG504
```

## Instead
Give the scheduler the number of optimizer steps (not of micro-batches), and make the warm-up a
fraction of it.

```steps
step=1 lr=0.0 grad_norm=1.1
steps=2-7 lr=0.0001 grad_norm=1.1
step=8 lr=0.0 grad_norm=1.1
```

## Source
sentence-transformers#497; schedules of transformers 5.23 measured: linear, cosine and
warmup-stable-decay reach zero after the last step, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.steps import StepFacts, consecutive, observed, place, units
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 5


@check(
    "TG504",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG105", "TG130", "TG403", "TG409", "TG503"),
)
def zero_learning_rate(
    steps: Sequence[StepFacts], *, in_a_row: int = STEPS
) -> Iterator[Finding | NotChecked]:
    """Fire if every group's rate is zero for five steps in a row, the first step aside."""
    seen = [step for step in observed(steps, "learning_rates") if step.step > 1]
    if not seen:
        yield NotChecked("no learning rate was observed")
        return
    zero = [run for run in consecutive(seen, _is_zero) if len(run) >= in_a_row]
    if not zero:
        return
    run = max(zero, key=len)
    yield Finding(
        f"{run[0].name}: the learning rate of every parameter group is 0 for {len(run)} "
        f"{units(run)}, so the weights stay as they are",
        fix="give the scheduler the number of optimizer steps of the whole run and shorten the "
        "warm-up",
        location=place(steps, run[0], "learning_rates"),
        evidence={"steps": len(run), "observed": len(seen)},
    )


def _is_zero(step: StepFacts) -> bool:
    return all(rate == 0 for rate in step.learning_rates or (1.0,))
