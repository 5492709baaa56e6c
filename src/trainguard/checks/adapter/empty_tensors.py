"""The weights file holds tensors without elements, or no tensor at all.

## Why is this bad?
DeepSpeed ZeRO-3 and FSDP keep a parameter in shards; in a process that holds none of it, and in
a state dict that was taken without gathering, its size is 0. Saved that way, the names and the
config look right and the training is lost. The loader stops with a size mismatch; a file without
any tensor it loads with a warning, and the model answers like its base.

## Example
```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=0   # TG107
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=0
```

```adapter
config peft_type=LORA r=8
file adapter_model.safetensors   # TG107
```

## Instead
Let the trainer save: `trainer.save_model()` gathers the shards. By hand, save inside
`deepspeed.zero.GatheredParameters` or `FSDP.summon_full_params`.

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

AdaLoRA may prune a module's rank to 0:

```adapter
config peft_type=ADALORA init_r=12
tensor base_model.model.layers.0.q_proj.lora_A shape=0x16
tensor base_model.model.layers.0.q_proj.lora_B shape=16x0
tensor base_model.model.layers.0.q_proj.lora_E shape=0x1
```

## Source
peft#2450 and trl#4416 show such files; PEFT 0.21 warns of them when it saves, but not where the
trainer hands it the state dict, as under DeepSpeed and FSDP.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._tuners import BY_MODULE
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

_GATHER = (
    "save with trainer.save_model(), or gather the shards first "
    "(deepspeed.zero.GatheredParameters, FSDP.summon_full_params)"
)


@check(
    "TG107",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG102", "TG103", "TG105", "TG110"),
)
def empty_tensors(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once, at the first tensor without elements or at a file without tensors."""
    if not tensors.tensors:
        name = tensors.path.replace("\\", "/").rpartition("/")[2]
        yield Finding(
            f"{name} holds 0 tensors, so the model answers like its base",
            fix=_GATHER,
            location=Location(path=tensors.path, key=name),
            evidence={"tensors": 0},
        )
    # AdaLoRA prunes; of tuners that are not known, nothing is known.
    if config.peft_type not in BY_MODULE - {"ADALORA"}:
        return
    empty = [tensor for tensor in tensors.tensors if not tensor.count]
    if empty:
        yield Finding(
            f"{len(empty)} of {len(tensors.tensors)} tensors have no elements (first "
            f"{brief(empty[0].name)}), so their training is lost and the loader stops",
            fix=_GATHER,
            location=tensors.location(empty[0]),
            evidence={"count": len(empty), "tensors": [tensor.name for tensor in empty[:100]]},
        )
