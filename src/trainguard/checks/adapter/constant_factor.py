"""All elements of a factor are the same number

## Why is this bad?
LoRA's factors begin as random numbers or as zeros, and gradients tell their elements apart. A
factor that has the same number everywhere was never trained: a script filled it, a conversion went
wrong, or it is a placeholder. The update it gives has rank one and no relation to any data. It
loads without a word.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x64
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=64x8 constant=0.01   # TG129
```

## Instead
Save the adapter again from the trained model, and look at what converted or filled it.

Zeros are what B begins with, and a few elements may be alike by chance:

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x64
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=64x8 constant=0
```

```adapter
config peft_type=LORA r=1
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=1x64
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=4x1 constant=0.0001
```

## Source
The first step of Adam moves every element of B by the learning rate, up or down by the sign of its
gradient: 64 elements that all went the same way do not come about by chance. PEFT 0.21.2 loads
such an adapter silently.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import AdapterTensors
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

FEWEST = 64
"""Elements that do not agree by chance."""
_FACTORS = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"})


@check("TG129", severity=Severity.WARNING, precision=Precision.HIGH)
def constant_factor(tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once, for all factors that have one number other than zero."""
    constant = [
        tensor
        for tensor in tensors.tensors
        if tensor.part in _FACTORS
        and tensor.leaf != "bias"
        and tensor.constant
        and tensor.count >= FEWEST
    ]
    if not constant:
        return
    first = constant[0]
    yield Finding(
        f"all {first.count} elements of {first.name} are {first.constant:g} ({len(constant)} such "
        "factors), as no training leaves them, so their update has nothing to do with the data",
        fix="save the adapter again from the trained model, and look at what filled the factor",
        location=tensors.location(first),
        evidence={"value": first.constant, "factors": [tensor.name for tensor in constant][:100]},
    )
