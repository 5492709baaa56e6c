"""The model's loss is NaN and the trainer returns a finite one.

## Why is this bad?
A `compute_loss` that replaces a NaN by a constant, or passes it through `nan_to_num`, repairs the
number and not the model. What the model computed was NaN: its weights, its batch or its precision
are broken, and the step teaches nothing or something wrong. Every curve looks healthy, because
the loss was finite before anything could log it.

## Example
```steps
step=6 model_loss=2.1 loss=2.1
step=7 model_loss=nan loss=0.0   # TG505
step=8 model_loss=nan loss=0.0
```

A trainer with a loss of its own shows it less surely (precision HIGH): the model is broken, but
its loss may not have been replaced.

```steps
step=6 model_loss=2.1 loss=0.3
step=7 model_loss=2.0 loss=0.7
step=8 model_loss=inf loss=0.5   # TG505
```

## Instead
Let the NaN through, stop at the first one and find what made it.

```steps
step=6 model_loss=2.1 loss=2.1
step=7 model_loss=nan loss=nan
```

The mean over no token is NaN by definition, and a trainer does well to replace it:

```steps
step=6 model_loss=2.1 loss=2.1 supervised_tokens=40
step=7 model_loss=nan loss=0.0 supervised_tokens=0
```

## Source
The definition of a finite number, and the model's own output against what `training_step`
returned. The two belong together if their ratio is the same, within 1 %, at all finite steps: a
loss that is scaled for accumulation or by the user keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isclose, isfinite

from trainguard.facts.steps import StepFacts, place, shown
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

SAME_RATIO = 0.01


@check(
    "TG505",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG106", "TG130", "TG144", "TG401", "TG402", "TG403", "TG404", "TG502", "TG503"),
)
def laundered_loss(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first step whose loss is finite although the model's own was not."""
    pairs = [
        (step, step.model_loss, step.loss)
        for step in steps
        if step.model_loss is not None and step.loss is not None
    ]
    if not pairs:
        yield NotChecked("the model's own loss was not observed beside the trainer's")
        return
    laundered = [
        (step, model_loss, loss)
        for step, model_loss, loss in pairs
        if not isfinite(model_loss) and isfinite(loss) and step.supervised_tokens != 0
    ]
    if not laundered:
        return
    step, model_loss, loss = laundered[0]
    finite = [(own, other) for _, own, other in pairs if isfinite(own) and isfinite(other)]
    proven = _belong_together(finite)
    yield Finding(
        f"{step.name}: the model's loss is {model_loss}, the trainer returned "
        f"{shown(loss)}, and no curve shows it ({len(laundered)} of {len(pairs)} steps)",
        fix="return the loss as the model computed it, and find what made it non-finite: the "
        "batch, the weights, or values that overflow in the precision of the forward pass",
        location=place(steps, step, "model_loss"),
        precision=Precision.EXACT if proven else Precision.HIGH,
        evidence={"steps": len(laundered), "observed": len(pairs)},
    )


def _belong_together(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether one loss is a multiple of the other; so they are if no finite pair denies it."""
    ratios = [loss / own for own, loss in pairs if own]
    return all(isclose(ratio, ratios[0], rel_tol=SAME_RATIO) for ratio in ratios)
