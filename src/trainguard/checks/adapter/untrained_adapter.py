"""The adapter's update is exactly zero.

## Why is this bad?
Tuners start as the identity: LoRA's B, AdaLoRA's E and VeRA's lambda_b are zero, IA3's factors are
one. The first optimizer step changes them. Where all of them still have that value, no step ever
reached the adapter: its parameters were frozen or not in the optimizer, the learning rate was
zero, every label was masked, or the adapter was saved before training. It loads without a word,
and the "fine-tuned" model answers exactly like its base.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 constant=0   # TG105
tensor base_model.model.layers.1.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.1.q_proj.lora_B.weight shape=16x8 constant=0
```

```adapter
config peft_type=IA3
tensor base_model.model.layers.0.k_proj.ia3_l shape=16x1 constant=1   # TG105
```

## Instead
Look at the run that wrote it: were there trainable parameters, was `grad_norm` above zero?
`PeftModel.from_pretrained` needs `is_trainable=True` to go on training an adapter.

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

One module that is still zero does not make the adapter void, and zero columns are normal for the
embeddings of tokens that never occurred:

```adapter
config peft_type=LORA r=8
tensor base_model.model.embed_tokens.lora_embedding_A shape=8x100
tensor base_model.model.embed_tokens.lora_embedding_B shape=16x8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 constant=0
```

## Source
Initial values read from adapters that PEFT 0.21.2 saved before the first step, one of each tuner.
Tuners whose start cannot be told from a trained state (prompts, FourierFT, LoRA with
`init_lora_weights=False` or PiSSA) are not judged.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._tuners import FACTORS
from trainguard.checks.adapter._updates import deciding_parts, idle_tensor
from trainguard.facts.adapter import AdapterConfig, AdapterTensors
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG105", severity=Severity.ERROR, precision=Precision.EXACT)
def untrained_adapter(
    config: AdapterConfig, tensors: AdapterTensors
) -> Iterator[Finding | NotChecked]:
    """Fire if no module's update can differ from none at all."""
    judged = list(deciding_parts(config, tensors).values())
    if not all(tensor.is_read for parts in judged for tensor in parts.values()):
        yield NotChecked("the values of this dtype are not read")
        return
    idle = [tensor for parts in judged if (tensor := idle_tensor(config, parts))]
    if not idle or len(idle) < len(judged):
        return
    value = "zero" if config.peft_type in FACTORS else "one"
    parts = list(dict.fromkeys(tensor.part for tensor in idle))
    yield Finding(
        f"{' or '.join(parts)} is exactly {value} in {len(idle)} of {len(judged)} adapted modules, "
        "so the adapter adds nothing to the base model",
        fix="look at the run that wrote it: check that its trainable parameters are not 0 and "
        "that its grad_norm is not 0, then train again",
        location=tensors.location(idle[0]),
        evidence={"modules": len(idle), "parts": parts, "value": value},
    )
