"""Weights of the adapter are stored as integers.

## Why is this bad?
PEFT copies a stored tensor into the parameter whatever its dtype is: an int8 tensor of -128 to
127 becomes a factor with entries of up to 127, without the scale that a quantiser keeps elsewhere.
The loader says nothing, and the update is garbage, some thousand times too large or, rounded, zero.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16 dtype=I8   # TG123
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 dtype=I8
```

## Instead
Store adapters in a floating-point dtype; quantise the base model, not the adapter.

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16 dtype=BF16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 dtype=F32
```

Some tuners store indices next to their values:

```adapter
config peft_type=SHIRA r=2
tensor base_model.model.layers.0.q_proj.shira_weight shape=64
tensor base_model.model.layers.0.q_proj.shira_indices shape=2x64 dtype=I32
```

## Source
PEFT 0.21.2: `load_state_dict` copies with a cast; loaded there. Eight-bit floats are cast as well
and keep their values, and a mix of float dtypes is ordinary.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._updates import deciding_parts
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_INTEGERS = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})


@check(
    "TG123",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG105", "TG118", "TG119"),
)
def integer_weights(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once, with the factors that are no floats."""
    judged = [t for parts in deciding_parts(config, tensors).values() for t in parts.values()]
    integers = [tensor for tensor in judged if tensor.dtype in _INTEGERS]
    if not integers:
        return
    first = integers[0]
    yield Finding(
        f"{len(integers)} of {len(judged)} factors are stored as integers (first "
        f"{brief(first.name)}, {first.dtype}), and the loader takes them as they are, without a "
        "scale",
        fix="save the adapter again in a floating-point dtype",
        location=tensors.location(first),
        evidence={"tensors": [tensor.name for tensor in integers[:100]], "count": len(integers)},
    )
