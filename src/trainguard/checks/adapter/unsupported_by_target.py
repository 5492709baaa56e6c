"""The program that is to load the adapter refuses it, or leaves a part of it out.

## Why is this bad?
An adapter that works in PEFT need not work elsewhere. vLLM, SGLang and llama.cpp read a few fields
of the config and the two factors; the rest they refuse, which is plain, or ignore, which is not:
the scaling of single modules (`alpha_pattern`), rsLoRA, the magnitudes of DoRA. What is served is
then another model than the one that was evaluated.

This check needs to be told the program: `--target vllm`.

## Example
```adapter
intent target=vllm
config peft_type=LORA r=8 target_modules='["q_proj"]'
config use_dora=true   # TG150
```

```adapter
intent target=llamacpp
config peft_type=LORA r=8 target_modules='["q_proj"]'
config use_rslora=true   # TG150
```

```adapter
intent target=transformers
config peft_type=LORA r=8 target_modules='["q_proj"]'
tensor base_model.model.layers.0.q_proj.lora_A.default.weight shape=8x16   # TG150
```

```adapter
intent target=sglang
config peft_type=IA3   # TG150
```

## Instead
Merge the adapter into the base model, serve it with PEFT, or train it without the feature.

```adapter
intent target=vllm
config peft_type=LORA r=8 target_modules='["q_proj"]' use_rslora=true use_dora=false bias=none
```

```adapter
intent target=llamacpp
config peft_type=LORA r=8 target_modules='["q_proj"]' alpha_pattern='{}' rank_pattern='{"q": 4}'
```

Without a target nothing is said:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]' use_dora=true alpha_pattern='{"q_proj": 4}'
```

## Source
transformers 5.23: run. vLLM's `PEFTHelper`, llama.cpp's `convert_lora_to_gguf.py` and SGLang's
`LoRAConfig`: read in sources of differing age, not run; a newer release may support more, and
what is ignored is of medium precision for that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainguard.facts.adapter import (
    PICKLE_NAME,
    WEIGHTS_NAME,
    AdapterConfig,
    AdapterFiles,
    AdapterTensors,
    TensorFacts,
    brief,
)
from trainguard.facts.intent import Intent
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

_READ = "by its source; releases differ"
_ONLY_LORA = frozenset({"vllm", "llamacpp", "sglang"})
_TITLES = {
    "vllm": "vLLM",
    "llamacpp": "llama.cpp",
    "sglang": "SGLang",
    "transformers": "transformers",
}


@dataclass(frozen=True)
class _Rule:
    """A field that a target does not take as PEFT does."""

    key: str
    applies: Callable[[AdapterConfig], bool]
    effect: str
    severity: Severity = Severity.WARNING


def _set(key: str) -> Callable[[AdapterConfig], bool]:
    return lambda config: config.flag(key)


def _has_bias(config: AdapterConfig) -> bool:
    return (config.text("bias") or "none") != "none"


def _refused(key: str, applies: Callable[[AdapterConfig], bool] | None = None) -> _Rule:
    return _Rule(key, applies or _set(key), "refuses to load it", Severity.ERROR)


def _ignored(key: str, effect: str) -> _Rule:
    return _Rule(key, _set(key), effect)


_GLOBAL = "scales every module by the one lora_alpha and r"
_BY_ALPHA = "scales by lora_alpha / r all the same"
_RULES: dict[str, tuple[_Rule, ...]] = {
    "vllm": (
        _refused("use_dora"),
        _refused("modules_to_save"),
        _refused("bias", _has_bias),
        _ignored("alpha_pattern", _GLOBAL),
        _ignored("rank_pattern", _GLOBAL),
    ),
    "llamacpp": (
        _refused("use_dora"),
        _ignored("use_rslora", _BY_ALPHA),
        _ignored("alpha_pattern", _GLOBAL),
    ),
    "sglang": (
        _ignored("use_rslora", _BY_ALPHA),
        _ignored("alpha_pattern", _GLOBAL),
        _ignored("rank_pattern", _GLOBAL),
    ),
    "transformers": (
        _ignored("use_dora", "leaves the stored magnitudes at their fresh values (5.23)"),
    ),
}


@check("TG150", severity=Severity.ERROR, precision=Precision.HIGH)
def unsupported_by_target(
    config: AdapterConfig,
    intent: Intent,
    tensors: AdapterTensors | None,
    files: AdapterFiles | None,
) -> Iterator[Finding]:
    """Fire once for each field and for the first tensor that the stated target cannot use."""
    target = intent.target
    if target is None or target == "peft":
        return
    if target in _ONLY_LORA and config.peft_type not in ("LORA", ""):
        yield _by_field(config, target, _refused("peft_type"))
        return
    for rule in _RULES[target]:
        if rule.applies(config):
            yield _by_field(config, target, rule)
    if tensors and (finding := _tensor(target, tensors)):
        yield finding
    if target == "transformers" and files and _only_pickle(files):
        yield _pickle()


def _by_field(config: AdapterConfig, target: str, rule: _Rule) -> Finding:
    location = config.location(rule.key)
    age = _READ if target in _ONLY_LORA else "run with that version"
    return Finding(
        f"{rule.key} is {location.value}, and {_TITLES[target]} {rule.effect} ({age})",
        fix="merge the adapter into the base model, or serve it with PEFT",
        location=location,
        evidence={"target": target, "key": rule.key},
        severity=rule.severity,
        precision=None if rule.severity is Severity.ERROR else _sureness(target),
    )


def _sureness(target: str) -> Precision:
    """A refusal shows by itself; what a program ignores changes from release to release."""
    return Precision.MEDIUM if target in _ONLY_LORA else Precision.HIGH


def _tensor(target: str, tensors: AdapterTensors) -> Finding | None:
    found = [tensor for tensor in tensors.tensors if _is_unusable(target, tensor)]
    if not found:
        return None
    effect = (
        "ignores them and goes on with freshly initialised weights"
        if target == "transformers"
        else f"stops at them ({_READ})"
    )
    return Finding(
        f"{len(found)} of {len(tensors.tensors)} tensors are named as {_TITLES[target]} cannot use "
        f"them (first {brief(found[0].name)}); it {effect}",
        fix="take the adapter's name out of the tensor names, or save again with save_pretrained"
        if target == "transformers"
        else "merge the adapter into the base model, or serve it with PEFT",
        location=tensors.location(found[0]),
        evidence={"target": target, "tensors": [tensor.name for tensor in found[:100]]},
    )


def _is_unusable(target: str, tensor: TensorFacts) -> bool:
    if target == "transformers":
        return tensor.infix == "default" and tensor.part.startswith("lora_")
    # llama.cpp takes factors, untouched norms and copies of the base; not an embedding's factors.
    return target == "llamacpp" and tensor.part.startswith("lora_embedding_")


def _only_pickle(files: AdapterFiles) -> bool:
    return PICKLE_NAME in files.names and WEIGHTS_NAME not in files.names


def _pickle() -> Finding:
    return Finding(
        f"the weights are in {PICKLE_NAME} only, and transformers 5 loads adapters from "
        f"{WEIGHTS_NAME} alone, so it stops with a FileNotFoundError",
        fix="load the adapter with PEFT and save it again with save_pretrained",
        location=Location(key=PICKLE_NAME),
        evidence={"target": "transformers"},
    )
