"""A module that the config targets has no tensor in the file.

## Why is this bad?
PEFT builds an adapter for every module of the base model that `target_modules` names. Those
without a stored tensor keep their fresh values, a random A and a zero B, behind a warning that
scrolls by: what was learned there is gone. So it is with a layer that a merge or a filter by hand
has left out.

A short name may also be one that the base model never had, in a list that was written for many
architectures; then nothing is lost. The file cannot tell the two apart, so the finding is a
warning. A module named by its full path did exist when the adapter was saved. A lost layer is
seen where the base model's headers are known (`--base`), or as a gap among the others.

## Example
```adapter
config peft_type=LORA r=8
config target_modules='["q_proj", "v_proj"]'   # TG110
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8
config target_modules='["model.layers.0.q_proj", "model.layers.1.q_proj"]'   # TG110
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8
config target_modules='["q_proj"]'   # TG110
base layers.0.q_proj.weight layers=2
base layers.1.q_proj.weight
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Instead
Save the adapter again from the trained model, or take names out of `target_modules` that the base
model does not have.

```adapter
config peft_type=LORA r=8 target_modules='["q_proj", "v_proj"]'
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.0.v_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.v_proj.lora_B.weight shape=16x8
```

A module that is saved whole is not adapted as well, and a pattern names no modules one by one:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj", "lm_head"]' modules_to_save='["lm_head"]'
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.lm_head.weight shape=100x16
```

```adapter
config peft_type=LORA r=8 target_modules=".*(q_proj|v_proj)"
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

The config may choose layers, and the files of a base model may hold one more than it has, for
predicting further tokens:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' layers_to_transform='[0]'
base layers.0.q_proj.weight layers=2
base layers.1.q_proj.weight
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
base model.layers.0.q_proj.weight layers=1
base model.layers.1.q_proj.weight
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Source
PEFT 0.21.2: `check_target_module_exists`, and the warning "Found missing adapter keys".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.checks.adapter._layers import absent_beside_base, absent_between_layers
from trainguard.checks.adapter._targets import (
    UndecidableError,
    is_targeted,
    names_module,
    owner,
    states_targets,
)
from trainguard.checks.adapter._tuners import BY_MODULE
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief
from trainguard.facts.base_model import BaseModelFacts
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

_FRESH = "so they load with freshly initialised weights"


@check("TG110", severity=Severity.WARNING, precision=Precision.MEDIUM)
def missing_tensors(
    config: AdapterConfig, tensors: AdapterTensors, base: BaseModelFacts | None
) -> Iterator[Finding | NotChecked]:
    """Fire once for the targets that no stored tensor belongs to, and once for lost layers."""
    if config.peft_type not in BY_MODULE:
        return
    stored = list(dict.fromkeys(owner(module) for module in tensors.modules()))
    if lost := _lost_targets(config, stored):
        yield _targets(config, lost)
    try:
        absent = list(_lost_modules(config, stored, base))
    except UndecidableError as error:
        yield NotChecked(f"target_modules or exclude_modules is {error}")
        return
    if absent:
        yield _modules(config, absent, is_known=base is not None)


def _lost_targets(config: AdapterConfig, stored: Sequence[str]) -> list[str]:
    """The listed names that no stored module has, without those that are saved whole instead."""
    if config.flag("exclude_modules"):
        return []
    whole = config.names("modules_to_save")
    return [
        name
        for name in config.names("target_modules")
        if not any(names_module(saved, name) for saved in whole)
        and not any(names_module(name, module) for module in stored)
    ]


def _lost_modules(
    config: AdapterConfig, stored: Sequence[str], base: BaseModelFacts | None
) -> Iterator[str]:
    """The targeted modules of other layers than the stored ones, by their path."""
    if not states_targets(config) or config.flag("layer_replication"):
        return
    beside = absent_beside_base(stored, base) if base else absent_between_layers(stored)
    for module in beside:
        # A module that the config lists by its full path is told as a lost target.
        if module not in config.names("target_modules") and is_targeted(config, module):
            yield module


def _targets(config: AdapterConfig, lost: Sequence[str]) -> Finding:
    existed = all(_is_full_path(name) for name in lost)
    return Finding(
        f"{len(lost)} of {len(config.names('target_modules'))} target_modules have no tensor in "
        f"the file ({brief(', '.join(lost[:3]))}), {_FRESH}"
        + ("" if existed else " if the base model has them"),
        fix="save the adapter again from the trained model, or take them out of target_modules",
        location=config.location("target_modules"),
        evidence={"targets": lost[:100], "count": len(lost)},
        precision=Precision.HIGH if existed else None,
    )


def _modules(config: AdapterConfig, absent: Sequence[str], *, is_known: bool) -> Finding:
    return Finding(
        f"{len(absent)} modules of other layers, which the config targets as well, have no tensor "
        f"in the file (first {brief(absent[0])}), {_FRESH}"
        + ("" if is_known else " if the base model has them"),
        fix="save the adapter again from the trained model, or name the trained layers in "
        "layers_to_transform",
        location=config.location("target_modules"),
        evidence={"modules": absent[:100], "count": len(absent)},
        precision=Precision.HIGH if is_known else None,
    )


def _is_full_path(name: str) -> bool:
    """Whether the name tells one layer from another, as only a list made from the model does."""
    return any(segment.isdecimal() for segment in name.split("."))
