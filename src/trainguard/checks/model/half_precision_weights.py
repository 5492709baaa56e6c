"""Weights that are trained are kept in float16.

## Why is this bad?
float16 ends at 65504 and knows no step below 6e-8. Adam's squared gradients vanish in it, and its
epsilon of 1e-8 is zero in it, so that an update divides by zero: the weights are NaN after the
first step. Updates that do not overflow round away. A gradient scaler does not help, because it
refuses float16 gradients ("Attempting to unscale FP16 gradients").

## Example
```model
model trainable_dtypes=float16   # TG204
optimizer tensors=42
```

## Instead
Load the model in float32 (`dtype=torch.float32`) and let `fp16=True` or `bf16=True` do the
arithmetic in 16 bits.

```model
model trainable_dtypes=float32
optimizer tensors=42
```

A frozen float16 base with an adapter that PEFT keeps in float32 is the usual way:

```model
model tensors=170 trainable_tensors=28 adapters=default peft_type=LORA trainable_dtypes=float32
optimizer tensors=28
```

bfloat16 does not overflow; what it loses to rounding, TG407 measures:

```model
model trainable_dtypes=bfloat16
optimizer tensors=42
```

DeepSpeed keeps float32 copies of its own, in an optimizer that cannot be seen from outside:

```model
model trainable_dtypes=float16
```

## Source
F62 of the failure catalogue: diffusers#6442, peft#1522. Measured with torch 2.13, AdamW at 1e-4: 21
of 21 tensors NaN after one step; the fused kernel and SGD survive, so it is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.model import ModelFacts, OptimizerFacts
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check


@check(
    "TG204",
    severity=Severity.WARNING,
    precision=Precision.HIGH,
    explains=("TG407",),
)
def half_precision_weights(
    model: ModelFacts, optimizer: OptimizerFacts | None
) -> Iterator[Finding | NotChecked]:
    """Fire if a torch optimizer steps a model of which trainable parameters are float16."""
    if model.trainable_tensors and not model.trainable_dtypes:
        yield NotChecked("the record does not state the precision of the trainable parameters")
        return
    if optimizer is None:
        yield NotChecked("what steps the parameters may keep copies of them in float32")
        return
    # Copies in another precision are stepped in place of the model's own tensors.
    has_copies = optimizer.foreign_tensors > 0
    if "float16" not in model.trainable_dtypes or has_copies:
        return
    yield Finding(
        f"trainable parameters are float16 ({', '.join(model.trainable_dtypes)}), in which Adam's "
        "squared gradients and its epsilon vanish, so updates overflow or round away",
        fix="load the model with dtype=torch.float32 and use fp16=True or bf16=True for the "
        "arithmetic",
        location=Location(key="trainable_dtypes=float16", value=",".join(model.trainable_dtypes)),
        evidence={"dtypes": list(model.trainable_dtypes)},
    )
