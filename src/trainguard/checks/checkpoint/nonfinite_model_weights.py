"""The model holds NaN or infinite weights.

## Why is this bad?
It loads without a word, and the first forward pass spreads them: every logit is NaN, generation
stops in an error of the sampler or repeats one token. Mostly a step of the run was non-finite and
the optimizer wrote it into every weight; an infinity also comes from casting weights above 65504 to
float16 on saving.

## Example
```full_model
tensor model.layers.0.mlp.up_proj.weight shape=64x32 nonfinite=2048   # TG144
tensor lm_head.weight shape=64x32 nonfinite=2048
```

## Instead
Go back to the last checkpoint whose weights are finite, and find the step at which the loss or
the gradient norm stopped being finite. Train in bfloat16 or float32.

```full_model
tensor model.layers.0.mlp.up_proj.weight shape=64x32
```

A stored attention mask holds minus infinity by design, and integers cannot be NaN:

```full_model
tensor text.attn_mask shape=77x77 nonfinite=2926
tensor model.layers.0.mlp.up_proj.qweight dtype=I32 shape=64x32 nonfinite=none
```

## Source
safetensors states that it does not check for NaN, and transformers does not either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import FullModelFacts
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG144", severity=Severity.ERROR, precision=Precision.EXACT, explains=("TG130", "TG136"))
def nonfinite_model_weights(model: FullModelFacts) -> Iterator[Finding | NotChecked]:
    """Fire once, at the first tensor with such an element."""
    if model.values_skipped:
        yield NotChecked(model.values_skipped)
        return
    broken = [
        (shard, tensor, tensor.nonfinite)
        for shard, tensor in model.tensors()
        if tensor.nonfinite and "mask" not in tensor.name.rpartition(".")[2]
    ]
    if not broken:
        return
    shard, first, elements = broken[0]
    total = sum(1 for _ in model.tensors())
    yield Finding(
        f"{elements} of {math.prod(first.shape)} elements of {brief(first.name)} are NaN or "
        f"infinite and make the model's output so ({sum(count for _, _, count in broken)} elements "
        f"in {len(broken)} of {total} tensors)",
        fix="go back to a checkpoint with finite weights and find the step at which the loss or "
        "grad_norm stopped being finite",
        location=model.location(shard.name, first.name),
        evidence={
            "elements": sum(count for _, _, count in broken),
            "tensors": [tensor.name for _, tensor, _ in broken[:100]],
            "tensor_count": len(broken),
        },
    )
