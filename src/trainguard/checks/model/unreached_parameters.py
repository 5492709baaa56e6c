"""The backward pass does not reach trainable parameters.

## Why is this bad?
They never change, and nothing says so. The usual causes are `.detach()`, `.data` or
`torch.no_grad()` between them and the loss, a module that the forward pass does not call, and
reentrant gradient checkpointing over frozen embeddings.

A tensor is unreached if it has no gradient (None), which a real backward pass in training mode
has confirmed. A gradient of zero is no fault here: LoRA's A matrices have one while B is zero, and
so have rows of an embedding that the batch does not name. Experts that no token was sent to and
towers for images that the batch does not hold are not counted.

Some tensors without a gradient are a warning, all of them an error.

## Example
```preflight
reach tensors=28 unreached=layers.1.mlp.up_proj.weight unreached_tensors=4   # TG210
```

```preflight
reach tensors=28 unreached=layers.0.q_proj.lora_A.weight unreached_tensors=28   # TG210
```

## Instead
Follow the first tensor named through the forward pass. With gradient checkpointing pass
`gradient_checkpointing_kwargs={"use_reentrant": False}`.

```preflight
reach tensors=28
```

```preflight
reach tensors=28 bypassed=6
```

## Source
PyTorch's reentrant checkpointing with LoRA: 16 of 16 tensors without a gradient, measured with
torch 2.13. The definition of an unused input of `torch.autograd.grad`.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import ReachFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check(
    "TG210",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG105", "TG130", "TG135", "TG402", "TG403", "TG503"),
)
def unreached_parameters(reach: ReachFacts) -> Iterator[Finding]:
    """Fire if trainable tensors get no gradient at all, an error if all of them get none."""
    if not reach.unreached_tensors:
        return
    everything = reach.unreached_tensors + reach.bypassed == reach.tensors
    yield Finding(
        f"{reach.unreached_tensors} of {reach.tensors} trainable tensors, {reach.unreached[0]} "
        "first, receive no gradient from the loss and never change",
        fix="look for detach(), .data or no_grad() between this tensor and the loss and for a "
        "module that is not called; pass use_reentrant=False to gradient checkpointing",
        severity=Severity.ERROR if everything else Severity.WARNING,
        location=Location(key=reach.unreached[0], value="gradient None"),
        evidence={
            "unreached": list(reach.unreached),
            "unreached_tensors": reach.unreached_tensors,
            "tensors": reach.tensors,
        },
    )
