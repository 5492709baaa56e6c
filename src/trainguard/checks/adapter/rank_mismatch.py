"""The stored factors have another rank than their partner or than the config.

## Why is this bad?
The rank is the width of the product: rows of `lora_A`, columns of `lora_B`, and `r` in
`adapter_config.json`. Where they differ, the loader stops with a size mismatch that names tensors
but not the cause: an edited config, a `rank_pattern` that was lost, or one process's shard of a
tensor that was never gathered. A config without `r` means 8.

## Example
```adapter
config peft_type=LORA r=16
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16   # TG103
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16   # TG103
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x4
```

## Instead
Restore `r` and `rank_pattern` as they were trained, or save the adapter again. The keys of
`rank_pattern` are regular expressions for the end of a module's path, and the first match counts.

```adapter
config peft_type=LORA r=8 rank_pattern='{"layers.1.q_proj": 4}'
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.1.q_proj.lora_A.weight shape=4x16
tensor base_model.model.layers.1.q_proj.lora_B.weight shape=16x4
```

Some ranks differ by design. AdaLoRA prunes its ranks, down to none; adapted expert parameters
hold all experts' ranks in one tensor; BD-LoRA stores blocks of a factor:

```adapter
config peft_type=ADALORA r=8 init_r=12
tensor base_model.model.layers.0.q_proj.lora_A shape=0x16
tensor base_model.model.layers.0.q_proj.lora_B shape=16x0
tensor base_model.model.layers.0.q_proj.lora_E shape=0x1
```

```adapter
config peft_type=LORA r=8 target_modules='[]' target_parameters='["mlp.experts.gate_up_proj"]'
tensor base_model.model.layers.0.mlp.experts.lora_A.weight shape=32x16
tensor base_model.model.layers.0.mlp.experts.lora_B.weight shape=16x32
```

```adapter
config peft_type=LORA r=8 use_bdlora='{"nblocks": 2}'
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x4
```

## Source
PEFT 0.21.2: the layers' constructors and `get_pattern_key`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trainguard.checks.adapter._targets import (
    UndecidableError,
    holds_parameters,
    owner,
    pattern_value,
)
from trainguard.checks.adapter._tuners import RANK_AXES
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, TensorFacts, brief, dims, shown
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

_DEFAULT_RANK = 8
#: LoKr keeps small matrices whole and AdaLoRA prunes, so that `r` binds neither.
_BOUND_BY_CONFIG = frozenset({"LORA", "LOHA"})
#: The parts of a factorised convolution, in which the ranks stand elsewhere.
_TUCKER = frozenset({"hada_t1", "hada_t2", "lokr_t2"})


@check("TG103", severity=Severity.ERROR, precision=Precision.EXACT)
def rank_mismatch(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[Finding | NotChecked]:
    """Fire once for factors that do not fit each other and once for those the config misstates."""
    if config.flag("use_bdlora"):
        return
    groups = list(_groups(config, tensors))
    unequal = [group for group in groups if len(set(_ranks(group))) > 1]
    if unequal:
        yield _unequal(unequal, len(groups), tensors)
    if config.peft_type not in _BOUND_BY_CONFIG:
        return
    try:
        misstated = [
            (group, rank)
            for group in groups
            if group not in unequal
            and (rank := _stated(config, group)) not in (None, *_ranks(group))
        ]
    except UndecidableError as error:
        yield NotChecked(f"a pattern of the config is {error}")
        return
    if misstated:
        yield _misstated(misstated, len(groups), tensors)


_Group = Sequence[tuple[TensorFacts, int]]


def _groups(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[_Group]:
    """The parts of each module that share a rank, with the axis that is the rank."""
    for parts in tensors.modules().values():
        if parts.keys() & _TUCKER:
            continue
        for axes in RANK_AXES.get(config.peft_type, ()):
            if group := _group(parts, axes):
                yield group


def _group(parts: Mapping[str, TensorFacts], axes: Mapping[str, int]) -> _Group:
    is_pruned = "lora_E" in parts
    return [
        (parts[part], axis)
        for part, axis in axes.items()
        if part in parts and (parts[part].count or is_pruned)
    ]


def _ranks(group: _Group) -> list[int | None]:
    """The ranks as stored; None for a tensor of too few dimensions to have one."""
    return [tensor.shape[axis] if len(tensor.shape) > 1 else None for tensor, axis in group]


def _stated(config: AdapterConfig, group: _Group) -> int | None:
    """The rank by the config; None if it does not bind the module or is no whole number."""
    module = owner(group[0][0].module)
    if holds_parameters(config, module):
        return None
    rank = pattern_value(config, "rank_pattern", module)
    if rank is None:
        rank = config.values.get("r", _DEFAULT_RANK)
    return rank if type(rank) is int else None


def _unequal(groups: Sequence[_Group], total: int, tensors: AdapterTensors) -> Finding:
    first = groups[0]
    shapes = ", ".join(f"{tensor.part} {dims(tensor)}" for tensor, _ in first)
    return Finding(
        f"the factors of {len(groups)} of {total} modules do not fit each other "
        f"(first {brief(first[0][0].module)}: {shapes}), so the loader stops with a size mismatch",
        fix="save the adapter again with save_pretrained; under FSDP or DeepSpeed ZeRO-3 gather "
        "the shards first",
        location=tensors.location(first[0][0]),
        evidence={"modules": [group[0][0].module for group in groups[:100]]},
    )


def _misstated(
    groups: Sequence[tuple[_Group, int | None]], total: int, tensors: AdapterTensors
) -> Finding:
    first, stated = groups[0]
    stored, tensor = _ranks(first)[0], first[0][0]
    return Finding(
        f"{brief(tensor.module)} is stored with rank {stored} ({tensor.part} {dims(tensor)}), the "
        f"config says {shown(stated)}, so the loader stops with a size mismatch ({len(groups)} of "
        f"{total} modules)",
        fix=f"set r or rank_pattern in adapter_config.json to the stored rank {stored}, with the "
        "lora_alpha of the training",
        location=tensors.location(tensor),
        evidence={
            "stored": stored,
            "stated": stated,
            "modules": [group[0][0].module for group, _ in groups[:100]],
        },
    )
