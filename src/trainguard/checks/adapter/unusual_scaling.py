"""The adapter's scaling is far outside of what is trained with, or its sign is negative.

## Why is this bad?
A LoRA update is multiplied by `lora_alpha / r`, or by `lora_alpha / sqrt(r)` with `use_rslora`. A
typo, a tool that rewrote the config, or a flag that was switched afterwards gives another strength
than the one that was trained: the model babbles or answers like its base. A negative alpha takes
away what was learned. The loader accepts any number, and for a `lora_alpha` that is missing it
takes 8, without a word.

## Example
```adapter
config peft_type=LORA r=8
config lora_alpha=1024   # TG111
```

```adapter
config peft_type=LORA r=16
config lora_alpha=-16   # TG111
```

```adapter
config peft_type=LORA r=16   # TG111
```

```adapter
config peft_type=LORA r=8 lora_alpha=16
config alpha_pattern='{"q_proj": 1024}'   # TG111
```

## Instead
Restore `lora_alpha`, `r` and `use_rslora` as they were in the training; the run's script or
another checkpoint has them.

```adapter
config peft_type=LORA r=8 lora_alpha=16
```

A rank of 1 with an alpha of 32 and an alpha of 1 for a rank of 128 are both in use, and rsLoRA
divides by less:

```adapter
config peft_type=LORA r=1 lora_alpha=32
```

```adapter
config peft_type=LORA r=128 lora_alpha=1
```

```adapter
config peft_type=LORA r=64 lora_alpha=64 use_rslora=true
```

## Source
PEFT 0.21.2: `update_layer` and `LoraConfig`. The limits, 32 and 0.001, are a rule of thumb that
leaves room for an alpha of 32 with rank 1 and for an alpha of 1 with rank 256.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, sqrt

from trainguard.facts.adapter import AdapterConfig, shown
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

LARGEST, SMALLEST = 32.0, 0.001
_DEFAULT = 8
_FIX = "restore lora_alpha, r and use_rslora as they were trained"


@check("TG111", severity=Severity.WARNING, precision=Precision.MEDIUM)
def unusual_scaling(config: AdapterConfig) -> Iterator[Finding]:
    """Fire for the scaling of all modules, and once for those of a pattern."""
    if config.peft_type != "LORA":
        return
    if "lora_alpha" not in config.values:
        yield _missing(config)
    elif finding := _judged(config, "lora_alpha", config.number("lora_alpha"), "every module"):
        yield finding
    if config.mapping("rank_pattern"):
        return  # whose rank a pattern's alpha is divided by cannot be told from the patterns
    for pattern, alpha in config.mapping("alpha_pattern").items():
        number = alpha if isinstance(alpha, int | float) else None
        if finding := _judged(config, "alpha_pattern", number, f"the modules of {shown(pattern)}"):
            yield finding
            return


def scaling(config: AdapterConfig, alpha: float) -> float | None:
    """What the update is multiplied by; None if the config does not say it in usable numbers."""
    rank = config.number("r") if "r" in config.values else _DEFAULT
    if rank is None or not rank > 0:
        return None
    try:
        return alpha / (sqrt(rank) if config.flag("use_rslora") else float(rank))
    except OverflowError:
        return None


def _judged(config: AdapterConfig, key: str, alpha: float | None, modules: str) -> Finding | None:
    # Zero and what is not a number are another check's.
    factor = scaling(config, alpha) if alpha else None
    if factor is None or not factor or not isfinite(factor):
        return None
    if SMALLEST <= factor <= LARGEST:
        return None
    effect = (
        "takes away what was learned"
        if factor < 0
        else f"lies outside of the usual {SMALLEST:g} to {LARGEST:g}"
    )
    verb = "is" if key == "lora_alpha" else "holds"
    by = "sqrt(r)" if config.flag("use_rslora") else "r"
    return Finding(
        f"{key} {verb} {shown(alpha)} with r {shown(config.values.get('r', _DEFAULT))}, so the "
        f"update of {modules} is multiplied by {factor:.3g} (alpha / {by}), which {effect}",
        fix=_FIX,
        location=config.location(key),
        evidence={"alpha": alpha, "r": config.values.get("r"), "scaling": factor},
        severity=Severity.WARNING,
    )


def _missing(config: AdapterConfig) -> Finding:
    factor = scaling(config, _DEFAULT)
    effect = f"multiplies the update by {factor:.3g}" if factor else "scales the update by that"
    return Finding(
        f"lora_alpha is missing, so the loader takes {_DEFAULT} and {effect}, whatever the "
        "training used",
        fix="add the lora_alpha of the training to adapter_config.json",
        location=config.location("peft_type"),
        evidence={"alpha": None, "r": config.values.get("r"), "scaling": factor},
        severity=Severity.WARNING,
    )
