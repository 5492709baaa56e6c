"""A module that the config targets has no tensor in the file.

## Why is this bad?
PEFT builds an adapter for every module of the base model that `target_modules` names. Those
without a stored tensor keep their fresh values, a random A and a zero B, behind a warning that
scrolls by: what was learned there is gone.

A short name may also be one that the base model never had, in a list that was written for many
architectures; then nothing is lost. The file cannot tell the two apart, so the finding is a
warning. A module named by its full path did exist when the adapter was saved.

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

## Source
PEFT 0.21.2: `check_target_module_exists`, and the warning "Found missing adapter keys".
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._targets import names_module, owner
from trainguard.checks.adapter._tuners import BY_MODULE
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG110", severity=Severity.WARNING, precision=Precision.MEDIUM)
def missing_tensors(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once, with the targets that no stored tensor belongs to."""
    if config.peft_type not in BY_MODULE or config.flag("exclude_modules"):
        return
    stored = {owner(module) for module in tensors.modules()}
    lost = [name for name in _targets(config) if not any(names_module(name, m) for m in stored)]
    if not lost:
        return
    existed = all(_is_full_path(name) for name in lost)
    yield Finding(
        f"{len(lost)} of {len(config.names('target_modules'))} target_modules have no tensor in "
        f"the file ({brief(', '.join(lost[:3]))}), so they load with freshly initialised weights"
        + ("" if existed else " if the base model has them"),
        fix="save the adapter again from the trained model, or take them out of target_modules",
        location=config.location("target_modules"),
        evidence={"targets": lost[:100], "count": len(lost)},
        precision=Precision.HIGH if existed else None,
    )


def _targets(config: AdapterConfig) -> Iterator[str]:
    """The listed names, without those that are saved whole instead."""
    whole = config.names("modules_to_save")
    for name in config.names("target_modules"):
        if not any(names_module(saved, name) for saved in whole):
            yield name


def _is_full_path(name: str) -> bool:
    """Whether the name tells one layer from another, as only a list made from the model does."""
    return any(segment.isdecimal() for segment in name.split("."))
