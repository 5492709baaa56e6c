"""The adapter has modules that the base model has not.

## Why is this bad?
PEFT puts an adapter into each module of the base model that the config names, and then looks for
its tensors. Tensors of modules that do not exist are dropped in silence: an adapter of a model of
32 layers, loaded on one of 28, loses the last four and answers nearly as well. It belongs to
another size or another version of the base model.

This check needs the base model's folder: `--base DIR`, or a local one that the config names.

## Example
```adapter
config peft_type=LORA r=8
base model.layers.0.q_proj.weight shape=16x16
base model.layers.1.q_proj.weight shape=16x16
tensor base_model.model.model.layers.1.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.1.q_proj.lora_B.weight shape=16x8
tensor base_model.model.model.layers.2.q_proj.lora_A.weight shape=8x16   # TG151
tensor base_model.model.model.layers.2.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8
base h.0.attn.c_attn.weight shape=16x48
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16   # TG151
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

An adapter of a model that sees pictures, on the text model that it was made of:

```adapter
config peft_type=LORA r=8
base model.layers.0.q_proj.weight architecture=LlamaForCausalLM
tensor base_model.model.model.language_model.layers.0.q_proj.lora_A.weight shape=8x16   # TG151
tensor base_model.model.model.language_model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Instead
Load the adapter on the base model that it was trained on.

```adapter
config peft_type=LORA r=8
base model.layers.0.q_proj.weight shape=16x16
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

Files may leave the first segment out, or name experts otherwise than the model does; and
replicated layers are more than the base model has:

```adapter
config peft_type=LORA r=8
base layers.0.q_proj.weight shape=16x16
base layers.0.block_sparse_moe.experts.0.w1.weight shape=16x16
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.model.layers.0.mlp.experts.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.mlp.experts.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8 layer_replication='[[0, 1], [0, 1]]'
base model.layers.0.q_proj.weight shape=16x16
tensor base_model.model.model.layers.1.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.1.q_proj.lora_B.weight shape=16x8
```

The files of some models that see pictures leave the segment out, which only their class adds:

```adapter
config peft_type=LORA r=8
base model.layers.0.q_proj.weight architecture=Qwen2VLForConditionalGeneration
base visual.blocks.0.attn.qkv.weight
tensor base_model.model.model.language_model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.language_model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Source
PEFT 0.21.2, loaded there. A file names modules nearly as the model does; therefore a module counts
as missing only where the base model has its like in other layers, or nothing of the kind at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from trainguard.checks.adapter._bases import BaseIndex, has_number
from trainguard.checks.adapter._targets import owner
from trainguard.checks.adapter._tuners import BY_MODULE
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief
from trainguard.facts.base_model import BaseModelFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG151", severity=Severity.ERROR, precision=Precision.HIGH, explains=("TG117", "TG152"))
def module_not_in_base(
    config: AdapterConfig, tensors: AdapterTensors, base: BaseModelFacts
) -> Iterator[Finding]:
    """Fire once, for layers that the base model has not or for all of another architecture."""
    if config.peft_type not in BY_MODULE or config.flag("layer_replication") or not base.shapes:
        return
    modules = list(dict.fromkeys(owner(module) for module in tensors.modules() if module))
    index = BaseIndex(base)
    missing = [module for module in modules if not index.find(module)]
    surplus = [module for module in missing if index.has_other_layer(module)]
    if surplus:
        yield _finding(surplus, len(modules), tensors, base)
    elif (len(missing) == len(modules) and _is_foreign(missing, index)) or _is_inner(modules, base):
        # The files of a few models pack several modules under another name.
        finding = _finding(modules, len(modules), tensors, base)
        yield replace(finding, severity=Severity.WARNING, precision=Precision.MEDIUM)


def _is_foreign(modules: Sequence[str], index: BaseIndex) -> bool:
    """Whether nothing in the base model is called like any of these; a tied head never is."""
    return any(map(has_number, modules)) and not any(map(index.has_name, modules))


def _is_inner(modules: Sequence[str], base: BaseModelFacts) -> bool:
    """Whether all are modules of a model's language model, and the base is such a one by itself."""
    is_text_model = (base.architecture or "").endswith("ForCausalLM")
    if not modules or not is_text_model or any(map(_in_language_model, base.modules())):
        return False
    return all(map(_in_language_model, modules))


def _in_language_model(module: str) -> bool:
    return "language_model" in module.split(".")


def _finding(
    missing: Sequence[str], total: int, tensors: AdapterTensors, base: BaseModelFacts
) -> Finding:
    first = next(t for t in tensors.tensors if owner(t.module) == missing[0])
    everything = len(missing) == total
    effect = (
        "so it belongs to another model"
        if everything
        else "so the loader drops their tensors in silence"
    )
    return Finding(
        f"{len(missing)} of {total} adapted modules are not in the base model "
        f"{brief(base.path)} (first {brief(missing[0])}), {effect}",
        fix="load the adapter on the base model that it was trained on",
        location=tensors.location(first),
        evidence={"modules": list(missing[:100]), "count": len(missing), "base": base.path},
    )
