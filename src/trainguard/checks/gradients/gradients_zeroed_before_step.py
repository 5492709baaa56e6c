"""Gradients that were there after the backward pass are gone when the optimizer runs.

## Why is this bad?
The loss, its gradient norm and the learning rate look healthy, and the optimizer steps on
nothing: weight decay and momentum may still move the weights, the data do not. A `zero_grad()`
between the backward pass and the step, a callback or a hook does it, and so does a
`nan_to_num(grad)` that hides a gradient of which nothing was finite.

A single step is no fault: leaving out a bad batch in this way is common.

## Example
```steps
steps=1-5 loss=2.3 grad_norm=1.1 sampled=1024 zeroed=1024   # TG404
```

```steps
steps=4-8 grad_norm=nan gradients=28 nonfinite_tensors=28 nonfinite_at_step=0   # TG404
```

## Instead
Call `zero_grad()` after the step. Skip a step whose gradients are not finite, and stop if that
happens again and again.

```steps
steps=1-3 loss=2.3 grad_norm=1.1 sampled=1024 zeroed=0
steps=4-5 loss=2.3 grad_norm=9000.0 sampled=1024 zeroed=1024
steps=6-8 loss=2.3 grad_norm=1.1 sampled=1024 zeroed=0
```

A mask that keeps some rows of an embedding fixed zeroes a part only:

```steps
steps=1-9 loss=2.3 grad_norm=1.1 sampled=1024 zeroed=900
```

Clipping by an infinite norm makes zeros; the infinity is the fault then:

```steps
steps=1-9 loss=2.3 grad_norm=inf sampled=1024 zeroed=1024
```

## Source
The same sample of elements after the backward pass and when the optimizer runs; no scaling or
clipping by a finite norm turns all of it into zeros. Replaced counts only where more than half of
the tensors were not finite: an element outside the sample may be the only bad one of a tensor,
not of most. Three steps in a row, as for TG402.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite

from trainguard.facts.steps import StepFacts, consecutive, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 3


@check(
    "TG404",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG105", "TG130", "TG135", "TG403", "TG409", "TG503"),
)
def gradients_zeroed_before_step(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire if what the optimizer got was not what the backward pass gave, three steps in a row."""
    seen = [step for step in steps if step.zeroed is not None or step.nonfinite_at_step is not None]
    if not seen:
        yield NotChecked("the gradients were not compared when the optimizer ran")
        return
    runs = [
        run for lost in (_zeroed, _replaced) for run in consecutive(seen, lost) if len(run) >= STEPS
    ]
    if not runs:
        return
    run = max(runs, key=len)
    yield Finding(
        f"{run[0].name}: {_what(run[0])} when the optimizer ran ({len(run)} of {len(seen)} "
        "steps that were looked at), so the weights do not follow the data",
        fix="call zero_grad() after the step, not between the backward pass and the step, and "
        "look for callbacks and hooks that assign to .grad",
        location=place(steps, run[0], "zeroed" if _zeroed(run[0]) else "nonfinite_at_step"),
        evidence={"steps": len(run), "observed": len(seen), "sampled": run[0].sampled},
    )


def _zeroed(step: StepFacts) -> bool:
    is_finite = step.grad_norm is None or isfinite(step.grad_norm)
    return bool(step.sampled) and step.zeroed == step.sampled and is_finite and _ran(step)


def _replaced(step: StepFacts) -> bool:
    most = 2 * (step.nonfinite_tensors or 0) > (step.gradients or 0)
    return most and step.nonfinite_at_step == 0 and _ran(step)


def _ran(step: StepFacts) -> bool:
    return step.stepped is not False


def _what(step: StepFacts) -> str:
    if _zeroed(step):
        return f"all of {step.sampled} sampled gradient elements had been set to zero"
    return (
        f"the gradients of {step.nonfinite_tensors} of {step.gradients} tensors were not finite "
        "and had been replaced"
    )
