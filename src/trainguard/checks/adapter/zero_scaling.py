"""The adapter is multiplied by zero, or by something that is not a number.

## Why is this bad?
A LoRA update is multiplied by `lora_alpha / r`, or by `lora_alpha / sqrt(r)` with `use_rslora`.
An alpha of 0 (`false` counts as 0) switches the adapter off, however well it was trained. JSON as
Python reads it allows a bare `NaN`, and then every logit is NaN. The loader accepts both without
a word.

## Example
```adapter
config peft_type=LORA r=8 lora_alpha=0   # TG108
```

```adapter
config peft_type=LORA r=8
config lora_alpha=nan   # TG108
```

```adapter
config peft_type=LORA r=8 lora_alpha=16
config alpha_pattern='{"q_proj": 0}'   # TG108
```

## Instead
Restore the alpha of the training; the run's script or another checkpoint has it.

```adapter
config peft_type=LORA r=8 lora_alpha=16
```

AdaLoRA takes an alpha of 0 to mean `r`, and other tuners have no alpha:

```adapter
config peft_type=ADALORA init_r=12 lora_alpha=0
```

```adapter
config peft_type=VERA r=256 alpha=0
```

## Source
PEFT 0.21.2: `update_layer` of the LoRA, LoHa, LoKr and AdaLoRA layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from trainguard.facts.adapter import AdapterConfig, shown
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_ALPHA = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}


@check(
    "TG108",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG105", "TG130", "TG402", "TG403", "TG503"),
)
def zero_scaling(config: AdapterConfig) -> Iterator[Finding]:
    """Fire for the alpha of all modules, and once for those of a pattern."""
    key = _ALPHA.get(config.peft_type)
    if key is None:
        return
    alpha = config.number(key)
    if alpha is not None and _is_void(alpha):
        others = " that alpha_pattern does not name" if config.mapping("alpha_pattern") else ""
        yield _finding(config, key, alpha, f"every module{others}")
    for pattern, value in config.mapping("alpha_pattern").items():
        if isinstance(value, int | float) and _is_void(value):
            yield _finding(config, "alpha_pattern", value, f"the modules of {shown(pattern)}")
            return


def _is_void(alpha: float) -> bool:
    # An int is finite, but one of 400 digits is no float.
    return alpha == 0 or (isinstance(alpha, float) and not isfinite(alpha))


def _finding(config: AdapterConfig, key: str, alpha: float, modules: str) -> Finding:
    value = "false, which counts as 0," if alpha is False else shown(alpha)
    effect = "switched off" if alpha == 0 else "not a number for any input"
    return Finding(
        f"{key} is {value} for {modules}, so the update there is {effect}",
        fix=f"restore the {key} that the adapter was trained with",
        location=config.location(key),
        evidence={"key": key, "alpha": alpha},
    )
