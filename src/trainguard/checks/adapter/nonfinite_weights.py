"""The adapter holds NaN or infinite weights.

## Why is this bad?
One NaN in a LoRA factor is enough: the adapted module's output is NaN for every input, and so are
the logits; in an embedding it takes the token whose row it is. Nothing complains at load. Mostly
a step of the run was non-finite (an overflow in float16, a division by zero in a loss) and the
optimizer wrote it into every weight; an infinity also comes from casting weights above 65504 to
float16 on saving.

## Example
```adapter
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 nonfinite=1   # TG106
tensor base_model.model.layers.1.q_proj.lora_A.weight shape=8x16 nonfinite=128
```

## Instead
Go back to the last checkpoint whose weights are finite, and find the step at which the loss or
the gradient norm stopped being finite. Train in bfloat16 or float32.

```adapter
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

Integers, such as the indices that some tuners store, cannot be NaN:

```adapter
tensor base_model.model.layers.0.q_proj.shira_indices dtype=I32 shape=2x8 nonfinite=none
```

## Source
safetensors states that it does not check for NaN; PEFT and transformers do not either.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import AdapterTensors, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG106", severity=Severity.ERROR, precision=Precision.EXACT, explains=("TG136",))
def nonfinite_weights(tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once, at the first tensor with such an element."""
    broken = [(tensor, tensor.nonfinite) for tensor in tensors.tensors if tensor.nonfinite]
    if not broken:
        return
    first, elements = broken[0]
    yield Finding(
        f"{elements} of {first.count} elements of {brief(first.name)} are NaN or infinite and "
        f"make the model's output so ({sum(count for _, count in broken)} elements in "
        f"{len(broken)} of {len(tensors.tensors)} tensors)",
        fix="go back to a checkpoint with finite weights and find the step at which the loss or "
        "grad_norm stopped being finite",
        location=tensors.location(first),
        evidence={
            "elements": sum(count for _, count in broken),
            "tensors": [tensor.name for tensor, _ in broken[:100]],
            "tensor_count": len(broken),
        },
    )
