"""The adapter holds weights of the base model that nothing in its config asks for.

## Why is this bad?
PEFT hands every stored tensor to the model by its name. A weight of a module that the adapter
leaves alone (`layers.0.self_attn.o_proj.weight`) has such a name, and replaces the base model's in
silence: unloading or disabling the adapter does not bring the old one back, and other loaders drop
it. It comes from a state dict that was filtered by hand, of a model that was partly fine-tuned, or
from a file that somebody has made to change more than an adapter should.

Where the base model's headers are not known (`--base`), the weight may also be of a module that no
base model has, which PEFT drops.

## Example
```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.model.layers.0.o_proj.weight shape=16x16   # TG156
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' bias=none
base model.layers.0.o_proj.weight
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.model.layers.0.o_proj.bias shape=16   # TG156
```

The base weight of an adapted module has a name of its own there:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
tensor base_model.model.model.layers.0.q_proj.base_layer.weight shape=16x16   # TG156
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Instead
List a module that is meant to be saved whole in `modules_to_save`, and save with
`save_pretrained`. A name there is the end of a module's path.

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' modules_to_save='["o_proj", "norm"]'
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.model.layers.0.o_proj.weight shape=16x16
tensor base_model.model.model.layers.0.input_layernorm.weight shape=16
```

Embeddings and heads are saved along where the vocabulary was resized or an embedding is adapted,
biases where `bias` says so, and the base weight of an adapted module under its old name is dropped:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj", "embed_tokens"]' bias=all
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.model.layers.0.q_proj.weight shape=16x16
tensor base_model.model.model.layers.0.norm.bias shape=16
tensor base_model.model.model.embed_tokens.base_layer.weight shape=100x16
tensor base_model.model.lm_head.weight shape=100x16
```

## Source
PEFT 0.21.2: `set_peft_model_state_dict` and `get_peft_model_state_dict`; a weight of ones was
loaded there over the base model's. Only weights of numbered layers are judged, for embeddings and
heads stand outside of them under names of many kinds.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._bases import BaseIndex, has_number
from trainguard.checks.adapter._targets import (
    UndecidableError,
    is_targeted,
    owner,
    states_targets,
)
from trainguard.checks.adapter._tuners import BY_MODULE
from trainguard.facts.adapter import PREFIX, AdapterConfig, AdapterTensors, TensorFacts, brief
from trainguard.facts.base_model import BaseModelFacts
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG156", severity=Severity.WARNING, precision=Precision.HIGH)
def stray_base_weight(
    config: AdapterConfig, tensors: AdapterTensors, base: BaseModelFacts | None
) -> Iterator[Finding | NotChecked]:
    """Fire once, with the weights that the loader puts over those of the base model."""
    if config.peft_type not in BY_MODULE or not states_targets(config):
        return
    try:
        stray = [tensor for tensor in tensors.tensors if _is_stray(config, tensor)]
    except UndecidableError as error:
        yield NotChecked(f"target_modules or exclude_modules is {error}")
        return
    if base is not None and stray:
        index = BaseIndex(base)
        stray = [tensor for tensor in stray if index.find(owner(tensor.module))]
    if stray:
        yield _finding(stray, tensors, is_known=base is not None)


def _is_stray(config: AdapterConfig, tensor: TensorFacts) -> bool:
    if tensor.is_added or not tensor.name.startswith(PREFIX) or not has_number(tensor.module):
        return False
    if _is_stored_by_choice(config, tensor):
        return False
    # Around an adapted module the base weight is called `base_layer.weight`; a bare one is dropped.
    return "base_layer" in tensor.module.split(".") or not is_targeted(config, tensor.module)


def _is_stored_by_choice(config: AdapterConfig, tensor: TensorFacts) -> bool:
    """Whether it is one of the base model's tensors that PEFT itself stores."""
    is_saved_whole = any(f"{name}." in f"{tensor.module}." for name in _saved_whole(config))
    is_bias = tensor.part == "bias" and config.text("bias") in ("all", "lora_only")
    return is_saved_whole or is_bias or "embed" in tensor.module


def _saved_whole(config: AdapterConfig) -> list[str]:
    return [name for name in config.names("modules_to_save") if name]


def _finding(stray: list[TensorFacts], tensors: AdapterTensors, *, is_known: bool) -> Finding:
    condition = "" if is_known else " if it has them"
    return Finding(
        f"{len(stray)} of {len(tensors.tensors)} tensors are weights of the base model that the "
        f"config does not ask for (first {brief(stray[0].name)}), so PEFT loads them over the base "
        f"model's own in silence{condition}",
        fix="take them out of the file, or list their modules in modules_to_save if they were "
        "trained",
        location=tensors.location(stray[0]),
        evidence={"tensors": [tensor.name for tensor in stray[:100]], "count": len(stray)},
    )
