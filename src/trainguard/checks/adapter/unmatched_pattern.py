"""A rank or an alpha is given to modules that the adapter does not have.

## Why is this bad?
The keys of `rank_pattern` and `alpha_pattern` are regular expressions for the end of a module's
path. A key that matches nothing is ignored: the module it was meant for has the default `r` or
`lora_alpha`. With `alpha_pattern` nothing else shows it, for any alpha fits any weights; the
update is simply too strong or too weak. PEFT 0.21.2 warns of such keys, earlier releases do not.

## Example
```adapter
config peft_type=LORA r=8 lora_alpha=16 target_modules='["q_proj"]'
config alpha_pattern='{"base_model.model.layers.0.q_proj": 64}'   # TG127
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8 lora_alpha=16 target_modules='["q_proj"]'
config rank_pattern='{"layers.7.q_proj": 64}'   # TG127
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Instead
Write the key as the end of the path that the module has in the base model, and compare it with
the names in the file.

```adapter
config peft_type=LORA r=8 lora_alpha=16 target_modules='["q_proj"]'
config alpha_pattern='{"q_proj": 64, "layers\\\\.[0-9]+\\\\.q_proj": 8}'
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

A key may mean a parameter, or a module whose tensors are missing, which is another fault. AdaLoRA
keeps something else under `rank_pattern`:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' target_parameters='["experts.down_proj"]'
config rank_pattern='{"experts.down_proj": 4, "q_proj": 2}'
tensor base_model.model.layers.0.experts.lora_A.weight shape=16x16
tensor base_model.model.layers.0.experts.lora_B.weight shape=16x16
```

```adapter
config peft_type=ADALORA r=8 target_modules='["q_proj"]'
config rank_pattern='{"model.layers.0.q_proj.lora_E": [true, false]}'
tensor base_model.model.layers.0.q_proj.lora_A shape=1x16
tensor base_model.model.layers.0.q_proj.lora_B shape=16x1
tensor base_model.model.layers.0.q_proj.lora_E shape=1x1
```

## Source
PEFT 0.21.2: `get_pattern_key`, and the warning in `BaseTuner.inject_adapter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trainguard.checks.adapter._known_fields import FIELDS
from trainguard.checks.adapter._patterns import UndecidableError, fullmatch
from trainguard.checks.adapter._targets import owner
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief, shown
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

#: The default that each pattern overrides, by the tuners that match its keys like this.
_DEFAULTS = {
    "DELORA": {"rank_pattern": "r"},
    "HIRA": {"rank_pattern": "r"},
    "LOHA": {"rank_pattern": "r", "alpha_pattern": "alpha"},
    "LOKR": {"rank_pattern": "r", "alpha_pattern": "alpha"},
    "LORA": {"rank_pattern": "r", "alpha_pattern": "lora_alpha"},
}
_MOST_MATCHES = 20_000
"""Names that are compared with expressions, some seconds' work; whole paths as keys are not."""


@check("TG127", severity=Severity.WARNING, precision=Precision.HIGH)
def unmatched_pattern(
    config: AdapterConfig, tensors: AdapterTensors
) -> Iterator[Finding | NotChecked]:
    """Fire once for each of the two patterns that has such keys."""
    defaults = _DEFAULTS.get(config.peft_type, {})
    if not tensors.tensors:
        return
    for field, default in defaults.items():
        try:
            unmatched = _unmatched(config, tensors, field)
        except UndecidableError as error:
            yield NotChecked(f"a key of {field} is {error}")
            continue
        if unmatched:
            yield _finding(config, field, default, unmatched)


def _unmatched(config: AdapterConfig, tensors: AdapterTensors, field: str) -> list[str]:
    modules = dict.fromkeys(owner(module) for module in tensors.modules())
    left = _MOST_MATCHES
    unmatched = []
    for key in config.mapping(field):
        if key in modules:
            continue
        for name in _named(config, modules):
            if not left:
                raise UndecidableError(f"one of too many for {len(modules)} modules")
            left -= 1
            if fullmatch(rf"(.*\.)?({key})", name):
                break
        else:
            unmatched.append(key)
    return unmatched


def _named(config: AdapterConfig, modules: Iterable[str]) -> Iterator[str]:
    """Everything a key may mean: the stored modules, the targets, and the modules' parameters."""
    yield from modules
    yield from config.names("target_modules")
    for parameter in config.names("target_parameters"):
        yield from (f"{module}.{parameter.rpartition('.')[2]}" for module in modules)


def _finding(config: AdapterConfig, field: str, default: str, unmatched: list[str]) -> Finding:
    value = config.values.get(default, FIELDS[config.peft_type][default])
    return Finding(
        f"{len(unmatched)} of {len(config.mapping(field))} keys of {field} match no module of the "
        f"adapter (first {shown(unmatched[0])}), so the modules that they were meant for have "
        f"{default} {shown(value)}",
        fix=f"write the keys of {field} in adapter_config.json as the end of the modules' paths, "
        "or take them out",
        location=config.location(field),
        evidence={"keys": [brief(key) for key in unmatched[:100]], "count": len(unmatched)},
    )
