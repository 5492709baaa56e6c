"""A field of the config has a value of a type that the loader does not expect.

## Why is this bad?
The loader does not validate `adapter_config.json`. Some wrong types raise somewhere inside, with
a message that does not name the field (`'<=' not supported between instances of 'NoneType' and
'int'`). Others raise nothing: the text `"false"` counts as true, so `use_rslora` given as text
switches to another scaling, and `layers_to_transform: true` means the layer 1.

## Example
```adapter
config peft_type=LORA lora_alpha=16
config r=none   # TG114
```

```adapter
config peft_type=LORA r=8 lora_alpha=16
config use_rslora='"false"'   # TG114
```

```adapter
config peft_type=LORA r=8 lora_alpha=16
config rank_pattern=none   # TG114
```

```adapter
config peft_type=LORA r=8 lora_alpha=16
config target_modules='[]'   # TG114
```

```adapter
config peft_type=IA3
config task_type=causal_lm   # TG114
```

A pattern names layers itself, and the loader takes no second choice of them:

```adapter
config peft_type=LORA r=8 target_modules=".*q_proj"
config layers_to_transform='[0, 1]'   # TG114
```

## Instead
Write the value as the config's class would: numbers and flags without quotes, an empty object
for an empty pattern, the task in capitals.

```adapter
config peft_type=LORA r=8 lora_alpha=16.5 use_rslora=false use_dora=none rank_pattern='{}'
```

```adapter
config peft_type=LORA r=8 lora_alpha=16 target_modules=none task_type=none bias=lora_only
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' layers_to_transform='[0, 1]'
```

```adapter
config peft_type=LORA r=8 target_modules='[]' target_parameters='["experts.gate_up_proj"]'
```

## Source
PEFT 0.21.2: 11 values of different types in each field, loaded one by one. Of the flags only
those are judged that read as "no" and count as "yes"; of values that work in spite of their type
nothing is said. The names of the tasks are those of `TaskType`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from trainguard.facts.adapter import AdapterConfig, shown
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_TASKS = (
    "SEQ_CLS",
    "SEQ_2_SEQ_LM",
    "CAUSAL_LM",
    "TOKEN_CLS",
    "QUESTION_ANS",
    "FEATURE_EXTRACTION",
)
_BIASES = ("none", "all", "lora_only")
#: Types whose `target_modules`, given as a pattern, excludes `layers_to_transform`.
_PATTERN_OR_LAYERS = frozenset(
    (
        "ADALORA",
        "C3A",
        "DEFT",
        "DELORA",
        "FOURIERFT",
        "HIRA",
        "HRA",
        "LORA",
        "MISS",
        "PSOFT",
        "SHADOW",
        "UNILORA",
        "WAVEFT",
    )
)
_NO = frozenset({"false", "no", "off", "0", "none", "null"})
_STOPS = "so the loader stops with an error that does not name the field"


@dataclass(frozen=True)
class _Rule:
    """What a field may hold, in words and as a test, and what happens otherwise."""

    wanted: str
    allows: Callable[[Any], bool]
    effect: str = _STOPS


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_dropout(value: Any) -> bool:
    return isinstance(value, int | float) and not value > 1


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_not_no(value: Any) -> bool:
    return not (isinstance(value, str) and value.lower() in _NO)


def _is_exclusion(value: Any) -> bool:
    return not value or isinstance(value, str | list | dict)


def _is_list_or_void(value: Any) -> bool:
    return not value or isinstance(value, list)


def _is_targets(value: Any) -> bool:
    return value is None or isinstance(value, str | list | dict)


def _is_init(value: Any) -> bool:
    is_word = isinstance(value, str) and value.lower() not in _NO | {"true"}
    return not value or value is True or is_word


def _is_layers(value: Any) -> bool:
    return value is None or type(value) is int or isinstance(value, list)


def _is_tokens(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(token, int) for token in value)
    return value is None or isinstance(value, dict)


_FLAG = _Rule("true or false", _is_not_no, "so it counts as true, in silence")
_LIST = _Rule("a list or null", _is_list_or_void)
_PATTERN = _Rule("an object, empty if there is none", _is_object)
_LORA: dict[str, _Rule] = {
    "r": _Rule("a whole number above 0", _is_rank),
    "lora_alpha": _Rule("a number", _is_number),
    "lora_dropout": _Rule("a number from 0 to 1", _is_dropout),
    "use_rslora": _FLAG,
    "use_dora": _FLAG,
    "rank_pattern": _PATTERN,
    "alpha_pattern": _PATTERN,
    "target_modules": _Rule("a list, a pattern or null", _is_targets),
    "exclude_modules": _Rule("a list, a pattern or null", _is_exclusion),
    "target_parameters": _LIST,
    "layer_replication": _LIST,
    "modules_to_save": _Rule(
        "a list or null", _is_list_or_void, "so the loader takes it letter by letter or stops"
    ),
    "init_lora_weights": _Rule("true, false or a method's name", _is_init),
    "layers_to_transform": _Rule(
        "a number, a list or null", _is_layers, "so the loader stops or takes other layers"
    ),
    "trainable_token_indices": _Rule("a list of numbers, an object or null", _is_tokens),
    "bias": _Rule(f"one of {', '.join(_BIASES)}", lambda value: value in _BIASES),
}
_NO_LAYERS = _Rule("null beside a target_modules that is a pattern", lambda value: value is None)
_TASK = _Rule(f"null or one of {', '.join(_TASKS)}", lambda v: v is None or v in _TASKS)


@check(
    "TG114",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG102", "TG103", "TG104", "TG110", "TG111", "TG117", "TG157"),
)
def config_type(config: AdapterConfig) -> Iterator[Finding]:
    """Fire for each field whose type breaks the loading or changes what is loaded."""
    rules = {"task_type": _TASK} | (_LORA if config.peft_type == "LORA" else {})
    for key, rule in rules.items():
        if key in config.values and not rule.allows(config.values[key]):
            yield _finding(config, key, rule)
    if config.peft_type == "LORA" and _targets_nothing(config):
        yield _finding(config, "target_modules", _Rule("a list with names in it", bool))
    if _chooses_layers_twice(config):
        yield _finding(config, "layers_to_transform", _NO_LAYERS)


def _targets_nothing(config: AdapterConfig) -> bool:
    return config.values.get("target_modules") in ([], {}) and not config.flag("target_parameters")


def _chooses_layers_twice(config: AdapterConfig) -> bool:
    return (
        config.peft_type in _PATTERN_OR_LAYERS
        and config.text("target_modules") is not None
        and not _NO_LAYERS.allows(config.values.get("layers_to_transform"))
    )


def _finding(config: AdapterConfig, key: str, rule: _Rule) -> Finding:
    value = config.values[key]
    return Finding(
        f"{key} is {shown(value)}, where the loader expects {rule.wanted}, {rule.effect}",
        fix=f"set {key} in adapter_config.json to {rule.wanted}, as it was trained",
        location=config.location(key),
        evidence={"key": key, "type": type(value).__name__},
    )
