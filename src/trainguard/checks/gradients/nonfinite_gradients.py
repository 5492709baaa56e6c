"""A gradient is NaN or infinite.

## Why is this bad?
Clipping divides every gradient by the total norm: one NaN element makes all of them NaN, one
infinity zeroes the others. With the update the weights are lost, and from the next step on the
loss is NaN too. Only before clipping can the parameter be named where it began.

A step that a gradient scaler skipped is no fault: finding an infinity and skipping is how
float16 scaling works. A log does not tell of the skip, but of what follows it: a later gradient
norm that is finite shows that the weights were spared.

## Example
```steps
step=3 loss=2.1 grad_norm=1.3
step=4 loss=2.0 grad_norm=inf nonfinite_gradients='["layers.1.mlp.down_proj.weight"]'   # TG401
step=5 loss=nan grad_norm=nan
```

Only the log is left, and the loss shows that the weights are lost:

```steps
step=1 logged_loss=2.1 grad_norm=1.3
step=2 logged_loss=2.0 grad_norm=inf   # TG401
step=3 logged_loss=0.0 grad_norm=nan
```

## Instead
Stop at this step and look at its batch and at the named module.

```steps
step=3 loss=2.1 grad_norm=1.3
step=4 loss=2.0 grad_norm=250.0
step=5 loss=2.0 grad_norm=inf stepped=false
```

The log of a scaler that looks for its scale:

```steps
steps=1-2 logged_loss=2.1 grad_norm=inf lr=0.0
step=3 logged_loss=2.1 grad_norm=1.3 lr=0.0001
```

## Source
Clipping measured with torch 2.13: NaN in 1 of 21 tensors before, in 21 of 21 after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from math import isfinite

from trainguard.facts.steps import StepFacts, from_log_alone, place
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
    # Of a model in shards a process knows no norm, but what in its own shards is not finite.
    measured = [s for s in steps if s.grad_norm is not None or s.nonfinite_tensors is not None]
    if not measured:
        yield NotChecked("no gradient norm was observed")
        return
    bad = [step for step in measured if _is_bad(step)]
    if bad and from_log_alone(steps):
        bad = _since_last_finite(measured)
        if bad and not any(_is_lost(step) for step in bad):
            yield NotChecked("needs the live step; a log alone cannot tell whether it was skipped")
            return
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
    has_norm = step.grad_norm is not None and not isfinite(step.grad_norm)
    return step.stepped is not False and (has_norm or bool(step.nonfinite_tensors))


def _since_last_finite(measured: Sequence[StepFacts]) -> list[StepFacts]:
    """The bad steps at the end of a run; weights that hold a NaN never give a finite norm again."""
    return list(takewhile(_is_bad, reversed(measured)))[::-1]


def _is_lost(step: StepFacts) -> bool:
    """Whether the logged loss is that of NaN weights, as it is or as the filter replaces it."""
    return step.logged_loss is not None and (
        step.logged_loss == 0.0 or not isfinite(step.logged_loss)
    )


def _culprit(step: StepFacts) -> str:
    if not step.nonfinite_gradients:
        return f"the gradient norm before clipping is {step.grad_norm}"
    share = f" ({step.nonfinite_tensors} of {step.gradients} tensors)" if step.gradients else ""
    return f"the gradient of {step.nonfinite_gradients[0]} is not finite before clipping{share}"
