"""Weights receive gradients and do not change.

## Why is this bad?
The loss cannot go down, while gradient norm and learning rate look healthy. An optimizer that
holds other tensors, an update that rounds to nothing in the precision of the weights, or a step
that never runs end here.

The comparison is between elements that received a non-zero gradient, before and after the
update, at a learning rate that is not zero: rows of an embedding that the batch did not contain
are not counted, and neither is the first step of a warm-up.

## Example
```steps
steps=1-5 loss=2.3 grad_norm=1.1 lr=0.0001 sampled=1024 moved=0   # TG403
```

## Instead
Build the optimizer from the parameters of the final model; keep trained weights in float32.

```steps
step=1 loss=2.3 grad_norm=1.1 lr=0.0 sampled=1024 moved=0
steps=2-6 loss=2.3 grad_norm=1.1 lr=0.0001 sampled=1024 moved=900
```

Nothing is said about elements that were not sampled:

```steps
steps=1-9 loss=2.3 grad_norm=1.1 lr=0.0001 sampled=0 moved=0
```

## Source
F12-F14 of the failure catalogue. Five steps in a row without a single moved element: no healthy
run of 28 configurations showed one such step after the warm-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.steps import StepFacts, consecutive, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

STEPS = 5


@check(
    "TG403",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG105", "TG130", "TG409", "TG503"),
)
def weights_unchanged(
    steps: Sequence[StepFacts], *, in_a_row: int = STEPS
) -> Iterator[Finding | NotChecked]:
    """Fire if no sampled element moved over five effective steps in a row."""
    if not observed(steps, "moved"):
        yield NotChecked("the weights were not compared before and after a step")
        return
    effective = [step for step in steps if step.sampled and step.trains]
    still = [run for run in consecutive(effective, lambda s: s.moved == 0) if len(run) >= in_a_row]
    if not still:
        return
    run = max(still, key=len)
    yield Finding(
        f"{run[0].name}: none of {run[0].sampled} sampled weights that received a gradient "
        f"changed in {len(run)} steps, so nothing is learned",
        fix="build the optimizer from the parameters of the final model, and keep the trained "
        "weights in float32 if the learning rate is small",
        location=place(steps, run[0], "moved"),
        evidence={"steps": len(run), "sampled": run[0].sampled},
    )
