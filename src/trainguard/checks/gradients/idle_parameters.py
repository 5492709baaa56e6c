"""Trainable parameters never receive a gradient while others do.

## Why is this bad?
They are not trained, and nothing in the log says so: the loss falls through the other parameters.
A block whose output is not used, a dead activation, a branch that the data never takes, a
router whose weights cancel out and a detached activation look like this. Weight decay may shrink
such weights all the same, so that they do change.

## Example
```steps
steps=1-19 gradients=21 zero_gradients=2
step=20 gradients=21 zero_gradients=2 idle='["mlp.0","mlp.1"]' idle_tensors=2  # TG409
```

## Instead
Let their output reach the loss, or freeze them so that the run says what it trains.

A parameter that receives a gradient now and then is no fault, and neither is an expert that no
token of so few batches was sent to:

```steps
steps=1-19 gradients=21 zero_gradients=1
step=20 gradients=21 zero_gradients=1 idle='["mlp.experts.7.up_proj"]' idle_tensors=1
```

If it is all of them, the gradients are zero, which is another fault (TG402).

## Source
F05 of the failure catalogue. Twenty steps in a row that ran at a learning rate above zero: the
first factor of a LoRA adapter has no gradient at one or two of them, an embedding of a rare
token receives one with its first batch. A top-1 router of Mixtral's kind, whose single weight is
normalised to one, has a gradient of exactly zero for ever, and is rightly named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from trainguard.facts.steps import IDLE_STEPS, StepFacts, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

_EXPERT = re.compile(r"\bexperts\.\d+\.")


@check("TG409", severity=Severity.WARNING, precision=Precision.MEDIUM)
def idle_parameters(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire where parameters, but not all, have had no gradient for twenty steps in a row."""
    if not observed(steps, "zero_gradients"):
        yield NotChecked("the gradients were not seen")
        return
    for step in observed(steps, "idle_tensors"):
        names = [name for name in step.idle if not _EXPERT.search(name)]
        total = step.gradients or 0
        if not names or step.zero_gradients == total:
            continue
        yield Finding(
            f"{step.name}: {step.idle_tensors} of {total} trainable tensors have received a "
            f"gradient of exactly zero at each of {IDLE_STEPS} steps, first {names[0]}, so they "
            f"are not trained",
            fix="let their output reach the loss, or freeze them",
            location=place(steps, step, "zero_gradients"),
            evidence={"names": names, "tensors": step.idle_tensors},
        )
        return
