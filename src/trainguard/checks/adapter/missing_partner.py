"""A factor of the adapter is stored without its partner.

## Why is this bad?
An update is a product: LoRA's is B times A. When one factor is not in the file, PEFT warns about
a missing key, keeps the freshly initialised one in its place and goes on. A fresh B is zero, so
the module adds nothing; a fresh A is random, so the module adds noise.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.1.q_proj.lora_A.weight shape=8x16   # TG102
```

```adapter
config peft_type=LOHA r=8
tensor base_model.model.layers.0.q_proj.hada_w1_a shape=16x8   # TG102
tensor base_model.model.layers.0.q_proj.hada_w1_b shape=8x16
tensor base_model.model.layers.0.q_proj.hada_w2_a shape=16x8
```

## Instead
Save the adapter again from the model that was trained. Under FSDP and DeepSpeed let the trainer
gather the weights: a state dict put together by hand easily loses every second tensor.

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.embed_tokens.lora_embedding_A shape=8x100
tensor base_model.model.embed_tokens.lora_embedding_B shape=16x8
```

LoKr keeps a small matrix whole, and a tuner that trainguard does not know is left alone:

```adapter
config peft_type=LOKR r=8
tensor base_model.model.layers.0.q_proj.lokr_w1 shape=4x4
tensor base_model.model.layers.0.q_proj.lokr_w2_a shape=4x8
tensor base_model.model.layers.0.q_proj.lokr_w2_b shape=8x4
```

```adapter
config peft_type=SOMETHING_NEW r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
```

## Source
PEFT 0.21.2 warns "Found missing adapter keys while loading the checkpoint" and returns the model.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._tuners import TOGETHER
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, TensorFacts, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG102", severity=Severity.ERROR, precision=Precision.EXACT)
def missing_partner(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once for each kind of factor that is missing somewhere."""
    modules = tensors.modules()
    widowed: dict[str, list[TensorFacts]] = {}
    for parts in modules.values():
        for group in TOGETHER.get(config.peft_type, ()):
            stored = [parts[part] for part in group if part in parts]
            for part in group if stored else ():
                if part not in parts:
                    widowed.setdefault(part, []).append(stored[0])
    for part, partners in widowed.items():
        first = partners[0]
        yield Finding(
            f"{len(partners)} of {len(modules)} adapted modules have {first.part} but no {part} "
            f"(first {brief(first.module)}), so PEFT puts a freshly initialised {part} in its "
            "place",
            fix="save the adapter again from the model that was trained, with save_pretrained",
            location=tensors.location(first),
            evidence={"missing": part, "modules": [one.module for one in partners[:100]]},
        )
