"""The optimizer is skipped, step after step.

## Why is this bad?
A gradient scaler skips a step whose gradients overflow and halves its factor. It finds a factor
that works within some steps. If it does not, the gradients overflow for another reason, no step
is ever made, and the loss goes up and down with the data as if something happened. A loop that
never calls its optimizer looks the same.

## Example
```steps
steps=1-12 loss=2.3 grad_norm=inf stepped=false   # TG405
```

## Instead
Train in bfloat16, which needs no scaler, or find what overflows: a NaN in the weights or the batch
is skipped for ever, whatever the factor.

```steps
steps=1-4 loss=2.3 grad_norm=inf stepped=false
steps=5-30 loss=2.2 grad_norm=1.4 stepped=true
```

A skip now and then is how the factor is kept high:

```steps
steps=1-9 loss=2.3 stepped=true
step=10 loss=2.3 stepped=false
steps=11-19 loss=2.3 stepped=true
step=20 loss=2.3 stepped=false
```

## Source
F63 of the failure catalogue. torch's scaler begins at 65536 and halves: ten skips bring it to 64,
below which no healthy gradient overflows float16. Measured healthy starts skip one to three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.steps import StepFacts, consecutive, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 10

#: Fixes of steps whose gradients may overflow, and of those whose gradients are finite.
OVERFLOWS = "train in bfloat16, or find the values that overflow or are NaN whatever the scale"
NOT_CALLED = "call optimizer.step() between the backward pass and zero_grad()"


@check(
    "TG405",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG105", "TG130", "TG135", "TG503"),
)
def skipped_steps(
    steps: Sequence[StepFacts], *, in_a_row: int = STEPS
) -> Iterator[Finding | NotChecked]:
    """Fire if the optimizer did not run in ten steps in a row and no weight moved."""
    seen = observed(steps, "stepped")
    if not seen:
        yield NotChecked("whether the optimizer ran was not observed")
        return
    skipped = [run for run in consecutive(seen, _is_skipped) if len(run) >= in_a_row]
    if not skipped:
        return
    run = max(skipped, key=len)
    yield Finding(
        f"{run[0].name}: the optimizer was skipped {len(run)} times in a row "
        f"(of {len(seen)} steps), so the weights stay as they are",
        fix=OVERFLOWS if any(map(_may_overflow, run)) else NOT_CALLED,
        location=place(steps, run[0], "stepped"),
        evidence={"steps": len(run), "observed": len(seen)},
    )


def _may_overflow(step: StepFacts) -> bool:
    return step.nonfinite_tensors != 0


def _is_skipped(step: StepFacts) -> bool:
    # An optimizer that steps out of sight, without its hooks, still moves weights.
    return step.stepped is False and not step.moved
