"""The loss ignores how many tokens the accumulation window has.

## Why is this bad?
The Trainer passes `num_items_in_batch` to the loss and takes it for granted that the loss was
divided by it. A `compute_loss` that does not do so adds up the micro-batches: with four of them
loss and gradients are four times as large as meant, and clipping hides it.

The loss of one batch is computed for two numbers of tokens; twice the number has to give half the
loss.

## Example
```preflight
accumulation loss=5.5 loss_of_double=5.5   # TG219
```

## Instead
Pass `num_items_in_batch` on to the model or divide by it, or set
`loss_is_scaled_for_ga = False` on the trainer's class.

```preflight
accumulation loss=5.5 loss_of_double=2.75
```

A part of the loss may be independent of it, such as the balance of experts:

```preflight
accumulation loss=5.5 loss_of_double=2.8
```

## Source
Measured with transformers 5.23: an override that ignores the argument trains and logs 22.2 instead
of 5.55 over four micro-batches.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import AccumulationFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

ALIKE = 0.75


@check("TG219", severity=Severity.ERROR, precision=Precision.HIGH)
def unscaled_accumulation(accumulation: AccumulationFacts) -> Iterator[Finding]:
    """Fire if doubling the tokens of the window leaves the loss as it is."""
    if not accumulation.loss_of_double > ALIKE * accumulation.loss > 0:
        return
    yield Finding(
        f"the loss is {accumulation.loss:.3g} however many tokens the accumulation window has, so "
        f"loss and gradients add up to {accumulation.steps} times their size over "
        f"{accumulation.steps} micro-batches",
        fix="divide the loss of compute_loss by num_items_in_batch, or set "
        "loss_is_scaled_for_ga = False on the trainer's class",
        location=Location(
            key="loss_of_double", value=f"{accumulation.loss_of_double:.4g}, not half"
        ),
        evidence={
            "steps": accumulation.steps,
            "loss": accumulation.loss,
            "loss_of_double": accumulation.loss_of_double,
        },
    )
