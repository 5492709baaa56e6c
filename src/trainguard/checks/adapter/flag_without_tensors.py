"""A flag of the config asks for tensors that the file does not hold.

## Why is this bad?
With `use_dora` PEFT gives each module a magnitude besides its two factors, with `lora_bias` a bias.
Where these are not stored they keep their first values behind a warning that scrolls by. A
magnitude starts as the norm of the base weight, so that the update no longer changes the length of
any column: the model answers otherwise than it was trained, whether the flag was set by mistake or
the magnitudes were lost. A bias starts at zero; if it was trained, what it learned is gone.

## Example
```adapter
config peft_type=LORA r=8
config use_dora=true   # TG157
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

```adapter
config peft_type=LORA r=8
config lora_bias=true   # TG157
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Instead
Save the adapter again from the trained model, or set the flag as it was trained.

```adapter
config peft_type=LORA r=8 use_dora=true lora_bias=true
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
tensor base_model.model.layers.0.q_proj.lora_B.bias shape=16
tensor base_model.model.layers.0.q_proj.lora_magnitude_vector shape=16
```

```adapter
config peft_type=LORA r=8 use_dora=false lora_bias=none
tensor base_model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.layers.0.q_proj.lora_B.weight shape=16x8
```

## Source
PEFT 0.21.2, loaded there: the warning "Found missing adapter keys", and other logits. Plain LoRA
with `use_dora` set answers otherwise than without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainguard.facts.adapter import AdapterConfig, AdapterTensors, brief
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@dataclass(frozen=True)
class _Promise:
    """What a flag makes the loader look for in each module."""

    flag: str
    part: str
    leaf: str
    words: str
    effect: str
    severity: Severity


_PROMISES = (
    _Promise(
        "use_dora",
        "lora_magnitude_vector",
        "",
        "a lora_magnitude_vector",
        "they load with the norm of the base weight in its place and answer otherwise than trained",
        Severity.ERROR,
    ),
    _Promise(
        "lora_bias",
        "lora_B",
        "bias",
        "a lora_B.bias",
        "they load with a bias of zero and what it was trained to is lost",
        Severity.WARNING,
    ),
)


@check("TG157", severity=Severity.ERROR, precision=Precision.HIGH)
def flag_without_tensors(config: AdapterConfig, tensors: AdapterTensors) -> Iterator[Finding]:
    """Fire once for each flag, with the modules that lack its tensor."""
    if config.peft_type != "LORA":
        return
    adapted = [module for module, parts in tensors.modules().items() if "lora_B" in parts]
    for promise in _PROMISES:
        kept = {t.module for t in tensors.tensors if (t.part, t.leaf) in _spellings(promise)}
        lacking = [module for module in adapted if module not in kept]
        if config.flag(promise.flag) and lacking:
            yield _finding(promise, lacking, len(adapted), config)


def _spellings(promise: _Promise) -> set[tuple[str, str]]:
    """The part with its leaf; the magnitude of an older PEFT is called `.weight`."""
    return {(promise.part, promise.leaf), (promise.part, promise.leaf or "weight")}


def _finding(promise: _Promise, lacking: list[str], total: int, config: AdapterConfig) -> Finding:
    return Finding(
        f"{promise.flag} is set and {len(lacking)} of {total} modules are stored without "
        f"{promise.words} (first {brief(lacking[0])}), so {promise.effect}",
        fix=f"save the adapter again from the trained model, or set {promise.flag} to false if it "
        "was trained without",
        location=config.location(promise.flag),
        evidence={"flag": promise.flag, "modules": lacking[:100], "count": len(lacking)},
        severity=promise.severity,
    )
