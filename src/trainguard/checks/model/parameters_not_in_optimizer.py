"""The optimizer does not hold parameters that require gradients.

## Why is this bad?
They receive gradients and never change: the loss is flat while `grad_norm` and the learning rate
look healthy. The usual cause is an optimizer that was built before `get_peft_model`, before
`resize_token_embeddings` or before the model was replaced in another way; it then steps tensors
that no longer belong to the model.

## Example
```model
optimizer tensors=21 missing=layers.0.q_proj.lora_A.weight missing_tensors=28   # TG203
```

## Instead
Build the optimizer last, or let the trainer build it.

```model
optimizer tensors=28
```

## Source
peft#3409, pytorch#14467. A comparison of identities: `id(p)` of every trainable parameter
against the parameter groups.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.model import OptimizerFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check(
    "TG203",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG105", "TG130", "TG135", "TG403", "TG409", "TG503"),
)
def parameters_not_in_optimizer(optimizer: OptimizerFacts) -> Iterator[Finding]:
    """Fire if a trainable parameter is in no parameter group."""
    if not optimizer.missing_tensors:
        return
    foreign = (
        f", while {optimizer.foreign_tensors} of its {optimizer.tensors} tensors belong to no "
        "module of the model"
        if optimizer.foreign_tensors
        else ""
    )
    yield Finding(
        f"{optimizer.missing_tensors} trainable tensors, {optimizer.missing[0]} first, are in no "
        f"parameter group of the optimizer and never change{foreign}",
        fix="build the optimizer after the model has its final shape (after get_peft_model and "
        "resize_token_embeddings), or let the trainer build it",
        location=Location(key=optimizer.missing[0], value="not in optimizer.param_groups"),
        evidence={
            "missing": list(optimizer.missing),
            "missing_tensors": optimizer.missing_tensors,
            "foreign_tensors": optimizer.foreign_tensors,
        },
    )
