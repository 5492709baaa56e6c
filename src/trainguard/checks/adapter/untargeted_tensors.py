"""The adapter holds tensors that the loader leaves out.

## Why is this bad?
PEFT builds the adapter's modules from the config alone and then looks for their tensors by name.
What it does not look for it drops without a word: tensors of a module that `target_modules` no
longer names, DoRA magnitudes without `use_dora`, and every tensor whose name is not spelled its
way. A missing `base_model.model.`, an `_orig_mod.` of torch.compile or a wrapper of FSDP in the
name turns the whole adapter into a no-op behind one warning.

Other loaders accept other spellings: transformers takes a name without the prefix, but none with
an adapter's name in it, which PEFT takes if it is the name the adapter is loaded under. That one
spelling, `.default.`, is therefore a warning.

## Example
```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.0.v_proj.lora_A.weight shape=8x16   # TG104
tensor base_model.model.layers.0.v_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
tensor model.layers.0.q_proj.lora_A.weight shape=8x16   # TG104
tensor model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' use_dora=false
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.0.q_proj.lora_magnitude_vector shape=16   # TG104
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
tensor base_model.model.layers.0.q_proj.lora_A.default.weight shape=8x16   # TG104
tensor base_model.model.layers.0.q_proj.lora_B.default.weight shape=16x8
```

X-LoRA writes its experts into folders of their own, together with the whole base model and under
a prefix that no loader knows; it reads them again from the paths in its own config:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
tensor base_model.lora_model.model.layers.0.q_proj.lora_A.weight shape=8x16   # TG104
tensor base_model.lora_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

OFT has another layout since PEFT 0.16, and the old name is not looked for:

```adapter
config peft_type=OFT target_modules='["q_proj"]'
tensor base_model.model.layers.0.q_proj.oft_r shape=4x28   # TG104
```

## Instead
Save with `model.save_pretrained(folder)` on the PeftModel itself (of a compiled model,
`model._orig_mod`; of a wrapped one, `accelerator.unwrap_model(model)`), and leave
`target_modules` and the flags in the config as they were trained.

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' modules_to_save='["lm_head"]' bias=all
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.0.norm.bias shape=16
tensor base_model.model.lm_head.weight shape=100x16
```

Embeddings are saved along where the vocabulary was resized, a config without targets leaves them
to a table inside PEFT, and tuners that trainguard does not know have names of their own:

```adapter
config peft_type=LORA r=8 target_modules=none
tensor base_model.model.embed_tokens.weight shape=100x16
tensor base_model.model.layers.0.query.lora_A.weight shape=8x16
tensor base_model.model.layers.0.query.lora_B.weight shape=16x8
```

```adapter
config peft_type=SHADOW
tensor base_model.shadow_backbone.default.layers.0.weight shape=8x16
```

## Source
PEFT 0.21.2: `check_target_module_exists` and `_remap_adapter_state_dict_for_load`; each spelling
was loaded there and in transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainguard.checks.adapter._targets import (
    UndecidableError,
    is_targeted,
    owner,
    states_targets,
)
from trainguard.checks.adapter._tuners import BY_MODULE, FACTORS, MULTIPLIERS
from trainguard.facts.adapter import (
    PREFIX,
    WRAPPERS,
    AdapterConfig,
    AdapterTensors,
    TensorFacts,
    brief,
)
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@dataclass(frozen=True)
class _Reason:
    """Why tensors are left out: continues "3 of 8 tensors ...", and what to do."""

    what: str
    fix: str
    severity: Severity = Severity.ERROR


_EXPERT_PREFIX = "base_model.lora_model.model."
_SAVE = "save again with save_pretrained on the unwrapped PeftModel"
_NO_PREFIX = _Reason(f"lack the prefix {PREFIX}", f"put {PREFIX} before each name, or {_SAVE}")
_EXPERT = _Reason(
    f"carry the prefix {_EXPERT_PREFIX} of an X-LoRA, which loads its experts from elsewhere",
    f"load the adapter that the expert was made of, or put {PREFIX} in place of {_EXPERT_PREFIX}",
    Severity.WARNING,
)
_DOUBLED = _Reason(f"have the prefix {PREFIX} twice", _SAVE)
_WRAPPED = _Reason(f"carry the name of a wrapper ({', '.join(WRAPPERS)})", _SAVE)
_MISSPELLED = _Reason("have a name that is not PEFT's (lora_A, lora_B)", _SAVE)
_OLD = _Reason(
    "have the name that PEFT gave them before 0.16 (oft_r)",
    "load the adapter with PEFT 0.15.2, or train it again",
)
_INFIX = _Reason("carry the name of an adapter", f"take it out of the names, or {_SAVE}")
_DEFAULT_INFIX = _Reason(
    "carry the adapter name default, which only a PeftModel that loads them under it accepts",
    _INFIX.fix,
    Severity.WARNING,
)
_UNTARGETED = _Reason(
    "belong to modules that the config does not target",
    "restore target_modules (and layers_to_transform, exclude_modules) as they were trained",
)
_FLAGS = {
    "lora_magnitude_vector": "use_dora",
    "trainable_tokens_delta": "trainable_token_indices",
}


@check(
    "TG104",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG102", "TG103", "TG110"),
)
def untargeted_tensors(
    config: AdapterConfig, tensors: AdapterTensors
) -> Iterator[Finding | NotChecked]:
    """Fire once for each reason for which tensors are left out."""
    if config.peft_type not in BY_MODULE:
        return
    left_out: dict[_Reason, list[TensorFacts]] = {}
    undecided = None
    for tensor in tensors.tensors:
        try:
            reason = _reason(config, tensor)
        except UndecidableError as error:
            undecided = error
        else:
            if reason:
                left_out.setdefault(reason, []).append(tensor)
    for reason, group in left_out.items():
        yield _finding(reason, group, tensors)
    if undecided:
        yield NotChecked(f"target_modules or exclude_modules is {undecided}")


def _reason(config: AdapterConfig, tensor: TensorFacts) -> _Reason | None:
    # What several modules share stands directly under `base_model`.
    if not tensor.is_added or tensor.module == "base_model":
        return None
    return _misspelling(tensor) or _lost_flag(config, tensor) or _untargeted(config, tensor)


def _misspelling(tensor: TensorFacts) -> _Reason | None:
    if tensor.name.startswith(_EXPERT_PREFIX):
        return _EXPERT
    if not tensor.name.startswith(PREFIX):
        return _NO_PREFIX
    if tensor.name.startswith((f"{PREFIX}{PREFIX}", f"{PREFIX}base_model.")):
        return _DOUBLED
    if any(f".{wrapper}." in tensor.name for wrapper in WRAPPERS):
        return _WRAPPED
    if tensor.part in ("lora_a", "lora_b", "lora_down", "lora_up"):
        return _MISSPELLED
    if tensor.part == "oft_r":
        return _OLD
    if tensor.infix and tensor.part in _OWN_PARTS:
        return _DEFAULT_INFIX if tensor.infix == "default" else _INFIX
    return None


def _lost_flag(config: AdapterConfig, tensor: TensorFacts) -> _Reason | None:
    """A part that PEFT looks for only if a flag of the config is set."""
    if config.peft_type != "LORA":
        return None
    flag = _FLAGS.get(tensor.part)
    if tensor.part == "lora_B" and tensor.leaf == "bias":
        flag = "lora_bias"
    if flag is None or config.flag(flag):
        return None
    return _Reason(f"are of no use without {flag}, which is not set", f"restore {flag}")


def _untargeted(config: AdapterConfig, tensor: TensorFacts) -> _Reason | None:
    if tensor.part not in _OWN_PARTS or not states_targets(config):
        return None
    module = owner(tensor.module)
    # Tied layers outside the numbered ones are adapted along with those that are named.
    is_tied = config.flag("ensure_weight_tying") and not any(map(str.isdecimal, module.split(".")))
    return None if is_tied or is_targeted(config, module) else _UNTARGETED


_OWN_PARTS = frozenset(
    part for table in (FACTORS, MULTIPLIERS) for parts in table.values() for part in parts
) | {"lora_magnitude_vector"}


def _finding(reason: _Reason, group: list[TensorFacts], tensors: AdapterTensors) -> Finding:
    first = group[0]
    return Finding(
        f"{len(group)} of {len(tensors.tensors)} tensors {reason.what} (first "
        f"{brief(first.name)}), so the loader drops them and goes on with freshly initialised "
        "weights",
        fix=reason.fix,
        location=tensors.location(first),
        evidence={"count": len(group), "tensors": [tensor.name for tensor in group[:100]]},
        severity=reason.severity,
    )
