"""The update of some modules is exactly zero while others have been trained.

## Why is this bad?
A tuner starts at zero and leaves it with the first gradient. Modules that are still exactly zero
never had one: blocks behind reentrant gradient checkpointing whose inputs need no gradient,
modules that the forward pass leaves out, a part of the model that was frozen. The loss fell, for
the other modules learned, and the adapter loads without a word.

Where data reach only a part of the model, such zeros are to be expected: the vision tower of a
model that was trained on text. The file cannot tell, so the finding is a warning.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8 constant=0   # TG118
tensor base_model.model.layers.1.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.1.q_proj.lora_B.weight shape=16x8
```

## Instead
Look at the gradients of these modules in the run. With a frozen embedding call
`model.enable_input_require_grads()`, or checkpoint with `use_reentrant=False`.

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.1.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.1.q_proj.lora_B.weight shape=16x8
```

An expert that no token was sent to has no gradient, and AdaLoRA prunes to zero:

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.mlp.experts.0.w1.lora_A.weight shape=8x16
tensor base_model.model.layers.0.mlp.experts.0.w1.lora_B.weight shape=16x8 constant=0
tensor base_model.model.layers.0.mlp.experts.1.w1.lora_A.weight shape=8x16
tensor base_model.model.layers.0.mlp.experts.1.w1.lora_B.weight shape=16x8
```

```adapter
config peft_type=ADALORA init_r=8
tensor base_model.model.layers.0.q_proj.lora_A shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B shape=16x8
tensor base_model.model.layers.0.q_proj.lora_E shape=8x1 constant=0
tensor base_model.model.layers.1.q_proj.lora_A shape=8x16
tensor base_model.model.layers.1.q_proj.lora_B shape=16x8
tensor base_model.model.layers.1.q_proj.lora_E shape=8x1
```

## Source
LoRA#120, peft#1142, transformers#26221. Initial values as in untrained-adapter.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._tuners import FACTORS
from trainguard.checks.adapter._updates import deciding_parts, idle_tensor
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, TensorFacts, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG118", severity=Severity.WARNING, precision=Precision.MEDIUM)
def dead_modules(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once if some modules, but not all, add nothing."""
    if config.peft_type == "ADALORA" or config.peft_type not in FACTORS:
        return
    modules = deciding_parts(config, tensors)
    idle = {
        name: tensor for name, parts in modules.items() if (tensor := idle_tensor(config, parts))
    }
    dead = {name: tensor for name, tensor in idle.items() if not _is_expert(name)}
    if dead and len(idle) < len(modules):
        yield _finding(dead, len(modules), tensors)


def _is_expert(module: str) -> bool:
    return any("expert" in segment for segment in module.split("."))


def _finding(dead: dict[str, TensorFacts], total: int, tensors: AdapterTensors) -> Finding:
    name, first = next(iter(dead.items()))
    return Finding(
        f"{first.part} is exactly zero in {len(dead)} of {total} adapted modules (first "
        f"{brief(name)}), as before the first step, so they add nothing",
        fix="look at the gradients of these modules in the run: check gradient checkpointing, "
        "frozen parts and modules that the forward pass leaves out",
        location=tensors.location(first),
        evidence={"modules": list(dead)[:100], "count": len(dead), "total": total},
        severity=Severity.WARNING,
    )
