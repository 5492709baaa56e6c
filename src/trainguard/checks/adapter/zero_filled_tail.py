"""The end of the weights file is zeros that nobody wrote

## Why is this bad?
A disk that fills up, a process that is killed while it saves, or a copy that breaks off can leave a
file of the right length whose last blocks never received their content: they read as zeros. The
header is intact, so PEFT and transformers load the file without a word, and the modules at its end
have a part of their update, or none.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x1024
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=1024x8
tail base_model.model.layers.0.q_proj.lora_B.weight start=36864 size=2900 kept=368 whole=0   # TG128
```

## Instead
Copy the file again, or take an earlier checkpoint. Save to another disk if this one is full.

A factor that was never trained is zero from its first byte on, which is another finding:

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x1024
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=1024x8 constant=0
tail base_model.model.layers.0.q_proj.lora_B.weight start=36864 size=32768 kept=0 whole=0
```

Embeddings have zeros for tokens that never occurred, whole modules may have rows of zeros:

```adapter
config peft_type=LORA r=8
tensor base_model.model.embed_tokens.lora_embedding_A shape=8x1024
tensor base_model.model.embed_tokens.lora_embedding_B shape=64x8
tail base_model.model.embed_tokens.lora_embedding_A start=33792 size=3320 kept=29448 whole=0
```

## Source
Disks and page caches lose whole blocks, so the zeros begin at a multiple of 512 bytes; those of a
tensor begin anywhere. The last byte of a little-endian float holds its sign and most of its
exponent and is zero in no number of the size of a weight. PEFT 0.21.2 loads such a file silently.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import AdapterTensors
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

BLOCK = 512
"""Bytes, the smallest that a disk or a file system writes."""


@check(
    "TG128",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG105", "TG118"),
)
def zero_filled_tail(tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire if the file's last zeros begin inside of a tensor and at a block's boundary."""
    tail = tensors.zero_tail
    if tail is None or not tail.kept or tail.size < BLOCK or tail.start % BLOCK:
        return
    cut = next(tensor for tensor in tensors.tensors if tensor.name == tail.tensor)
    if not cut.is_added or cut.part == "lora_embedding_A":
        return
    others = f" and the {tail.whole} tensors after it" if tail.whole else ""
    yield Finding(
        f"the last {tail.size} bytes of the file are zeros from byte {tail.start} on, amid a "
        f"tensor, so {cut.name}{others} lost what training put there",
        fix="copy the file again, or take an earlier checkpoint",
        location=tensors.location(cut),
        evidence={"start": tail.start, "bytes": tail.size, "tensors": 1 + tail.whole},
    )
