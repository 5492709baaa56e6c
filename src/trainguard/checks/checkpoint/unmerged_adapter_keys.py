"""A full model was saved with its adapter still inside.

## Why is this bad?
PEFT replaces the layers of the base model in place: inside, `q_proj.weight` becomes
`q_proj.base_layer.weight` with `lora_A` and `lora_B` beside it. `get_base_model().save_pretrained`,
or a state dict of the PeftModel, writes these names into `model.safetensors`. When it is loaded, no
layer is called so: the adapted layers start from random values, the adapter is dropped, and only
the load report says it.

## Example
```full_model
tensor model.layers.0.self_attn.q_proj.base_layer.weight   # TG143
tensor model.layers.0.self_attn.q_proj.lora_A.default.weight
tensor model.layers.0.self_attn.q_proj.lora_B.default.weight
```

## Instead
Merge first, and keep what the method returns: `model = model.merge_and_unload()`, then
`model.save_pretrained(...)`. Or save only the adapter: `peft_model.save_pretrained(...)`.

```full_model
tensor model.layers.0.self_attn.q_proj.weight
```

Architectures with adapters of their own bring the code that expects them:

```full_model
config architecture=Phi4MMForCausalLM custom_code=true
tensor model.layers.0.self_attn.qkv_proj.base_layer.weight
tensor model.layers.0.self_attn.qkv_proj.lora_A.vision.weight
```

Names with `lora` that are not PEFT's belong to the architecture:

```full_model
config architecture=RWKV7ForCausalLM
tensor model.layers.0.attn.w_lora.lora.0.weight
```

## Source
peft#2957, nanoGPT#325. Run with transformers 5.23: the logits are off by 0.25 on a tiny model, the
load report lists missing and unexpected keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import FullModelFacts
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

#: Architectures of transformers whose own names look like PEFT's.
_NATIVE = "Phi4Multimodal"


@check("TG143", severity=Severity.ERROR, precision=Precision.HIGH)
def unmerged_adapter_keys(model: FullModelFacts) -> Iterator[Finding | NotChecked]:
    """Fire once, at the first tensor that PEFT has renamed or added."""
    found = [
        (shard, tensor) for shard, tensor in model.tensors() if _is_wrapped(tensor.name.split("."))
    ]
    if not found:
        return
    if model.architecture is None or model.custom_code or _NATIVE in model.architecture:
        yield NotChecked("the model's own code may expect these names")
        return
    shard, tensor = found[0]
    total = sum(1 for _ in model.tensors())
    yield Finding(
        f"{brief(tensor.name)} is the name of an unmerged adapter ({len(found)} of {total} "
        "tensors), so the adapted layers are newly initialised when the model is loaded",
        fix="call model = model.merge_and_unload() before save_pretrained, or save only the "
        "adapter",
        location=model.location(shard.name, tensor.name),
        evidence={"tensors": [one.name for _, one in found[:100]], "count": len(found)},
    )


def _is_wrapped(path: list[str]) -> bool:
    """`X.base_layer.weight`, `X.lora_A.NAME.weight`, or the prefix of a whole PeftModel."""
    if path[:2] == ["base_model", "model"]:
        return True
    if path[-1] not in ("weight", "bias"):
        return False
    return path[-2:-1] == ["base_layer"] or bool({"lora_A", "lora_B"} & set(path[-3:-1]))
