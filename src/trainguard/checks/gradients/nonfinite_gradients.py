"""A gradient is NaN or infinite.

## Why is this bad?
Clipping divides every gradient by the total norm: one NaN element makes all of them NaN, one
infinity zeroes the others. With the update the weights are lost, and from the next step on the
loss is NaN too. Only before clipping can the parameter be named where it began.

A step that a gradient scaler skipped is no fault: finding an infinity and skipping is how
float16 scaling works.

## Example
```steps
step=3 loss=2.1 grad_norm=1.3
step=4 loss=2.0 grad_norm=inf nonfinite_gradients='["layers.1.mlp.down_proj.weight"]'   # TG401
step=5 loss=nan grad_norm=nan
```

## Instead
Stop at this step and look at its batch and at the named module.

```steps
step=3 loss=2.1 grad_norm=1.3
step=4 loss=2.0 grad_norm=250.0
step=5 loss=2.0 grad_norm=inf stepped=false
```

## Source
Clipping measured with torch 2.13: NaN in 1 of 21 tensors before, in 21 of 21 after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from trainguard.facts.steps import StepFacts, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check(
    "TG401",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG106", "TG130", "TG144", "TG402", "TG403", "TG501", "TG502", "TG503"),
)
def nonfinite_gradients(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first step whose gradients are not finite, naming the parameters."""
    measured = observed(steps, "grad_norm")
    if not measured:
        yield NotChecked("no gradient norm was observed")
        return
    bad = [step for step in measured if _is_bad(step)]
    if not bad:
        return
    first = bad[0]
    yield Finding(
        f"{first.name}: {_culprit(first)} and the update spreads it to the weights",
        fix="look at the batch of this step and at the precision of the named module; skip or "
        "stop on a gradient norm that is not finite instead of clipping it",
        location=place(steps, first, "grad_norm"),
        evidence={
            "parameters": list(first.nonfinite_gradients),
            "nonfinite_tensors": first.nonfinite_tensors,
            "gradients": first.gradients,
            "steps": len(bad),
        },
    )


def _is_bad(step: StepFacts) -> bool:
    return step.grad_norm is not None and not isfinite(step.grad_norm) and step.stepped is not False


def _culprit(step: StepFacts) -> str:
    if not step.nonfinite_gradients:
        return f"the gradient norm before clipping is {step.grad_norm}"
    share = f" ({step.nonfinite_tensors} of {step.gradients} tensors)" if step.gradients else ""
    return f"the gradient of {step.nonfinite_gradients[0]} is not finite before clipping{share}"
