"""The config promises weights, of whole modules or of new tokens, that the file does not hold.

## Why is this bad?
`modules_to_save` names modules of the base model, such as a classifier or `lm_head`, that were
trained as a whole and are stored next to the adapter, `trainable_token_indices` single rows of
the embeddings. If the base model has the module and the file no tensor for it, the loader stops
with a bare `KeyError`. It happens when a config is edited or copied from another run, or when a
tool writes only the low-rank tensors.

A name that the base model does not have is ignored. Without the base model's headers (`--base`)
the two cannot be told apart, and the finding is a warning.

## Example
```adapter
config peft_type=LORA r=8
config modules_to_save='["lm_head"]'   # TG117
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8
config trainable_token_indices='[5, 6]'   # TG117
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Instead
Save the adapter again from the trained model, or take the name out if nothing was trained there.

```adapter
config peft_type=LORA r=8 modules_to_save='["lm_head"]'
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.lm_head.weight shape=100x16
```

For classification PEFT adds both usual names of the head, of which a model has one, and a name
that the base model does not have costs nothing:

```adapter
config peft_type=LORA r=8 modules_to_save='["classifier", "score"]' task_type=SEQ_CLS
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.score.weight shape=3x16
```

```adapter
config peft_type=LORA r=8 modules_to_save='["classifier"]'
base layers.0.q_proj.weight shape=16x16
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Source
PEFT 0.21.2: `set_peft_model_state_dict`; each case was loaded there.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._tokens import FIELDS, TOKEN_PART
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief, shown
from trainguard.facts.base_model import BaseModelFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_HEADS = frozenset({"classifier", "score"})
_TOKENS = FIELDS["LORA"]


@check("TG117", severity=Severity.ERROR, precision=Precision.EXACT)
def unsaved_modules(
    config: AdapterConfig, tensors: AdapterTensors, base: BaseModelFacts | None
) -> Iterator[Finding]:
    """Fire once for the modules and once for the tokens."""
    if config.peft_type != "LORA" or not any(tensor.count for tensor in tensors.tensors):
        return
    lost = _lost(config, [tensor.module for tensor in tensors.tensors])
    if base is not None:
        lost = [name for name in lost if _names_any(name, base.modules())]
    if lost:
        yield _modules(config, lost, sure=base is not None)
    if any(tensor.part == TOKEN_PART for tensor in tensors.tensors):
        return
    if _lists_tokens(config.values.get(_TOKENS)):
        yield _tokens(config)


def _lost(config: AdapterConfig, stored: list[str]) -> list[str]:
    if config.flag("ensure_weight_tying"):
        return []  # of tied modules one is stored for both
    names = [name for name in config.names("modules_to_save") if name]
    saved = {name for name in names if _names_any(name, stored)}
    optional = _HEADS if saved & _HEADS else frozenset()
    return [name for name in names if name not in saved | optional]


def _names_any(name: str, modules: list[str] | frozenset[str]) -> bool:
    return any(f".{name}." in f".{module}." for module in modules)


def _lists_tokens(value: object) -> bool:
    if isinstance(value, list):
        return all(type(token) is int for token in value)
    return isinstance(value, dict) and bool(value)


def _modules(config: AdapterConfig, lost: list[str], *, sure: bool) -> Finding:
    total = len(config.names("modules_to_save"))
    condition = "" if sure else " if the base model has them"
    return Finding(
        f"{len(lost)} of {total} modules_to_save have no tensor in the file "
        f"({brief(', '.join(lost[:3]))}), so the loader stops with a KeyError{condition}",
        fix="save the adapter again from the trained model, or take them out of modules_to_save",
        location=config.location("modules_to_save"),
        evidence={"modules": lost[:100], "count": len(lost)},
        severity=Severity.ERROR if sure else Severity.WARNING,
        precision=None if sure else Precision.MEDIUM,
    )


def _tokens(config: AdapterConfig) -> Finding:
    value = config.values.get(_TOKENS)
    return Finding(
        f"{_TOKENS} is {shown(value)} and the file holds no {TOKEN_PART}, so the loader stops "
        "with a KeyError",
        fix=f"save the adapter again from the trained model, or set {_TOKENS} to null",
        location=config.location(_TOKENS),
        evidence={"modules": [TOKEN_PART], "count": 1},
    )
