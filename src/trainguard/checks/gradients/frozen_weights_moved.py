"""Frozen weights change during the run.

## Why is this bad?
What is saved, a LoRA adapter for instance, belongs to the base model as it was loaded. If the base
has moved during training, the adapter is put on another model than the one that it was trained on,
and evaluates worse than the run said. An optimizer that still holds parameters frozen after it
was built, weight decay on stale gradients, an adapter that is merged and not exactly unmerged, and
weights written through `.data` do this.

## Example
```steps
steps=1-3 loss=2.3 frozen=24 frozen_moved_tensors=0
step=4 loss=2.3 frozen=24 frozen_moved='["layers.0.up_proj.weight"]' frozen_moved_tensors=1  # TG410
```

## Instead
Freeze before the optimizer is built, set gradients to None, and save the base model too if it is
meant to change.

```steps
steps=1-16 loss=2.3 frozen=24 frozen_moved_tensors=0
```

## Source
Section 3.3 of the runtime measurements: a frozen parameter written through `.data` was found at
the same step. 64 elements of each tensor are compared to the bit at each of the first eight steps
and at every sixteenth, so that the step named is at most fifteen late; a parameter that was
unfrozen since is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.steps import StepFacts, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG410", severity=Severity.WARNING, precision=Precision.HIGH)
def frozen_weights_moved(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first look that finds frozen tensors with other values than at the beginning."""
    looks = observed(steps, "frozen_moved_tensors")
    if not looks:
        yield NotChecked("no frozen weights were compared")
        return
    for step in looks:
        if step.frozen_moved_tensors:
            yield Finding(
                f"{step.name}: {step.frozen_moved_tensors} of {step.frozen} frozen tensors no "
                f"longer have the values they began with, first {step.frozen_moved[0]}, so what is "
                f"saved belongs to another base model",
                fix="freeze before the optimizer is built and set gradients to None, or train and "
                "save these weights",
                location=place(steps, step, "frozen_moved_tensors"),
                evidence={"names": list(step.frozen_moved), "frozen": step.frozen},
            )
            return
