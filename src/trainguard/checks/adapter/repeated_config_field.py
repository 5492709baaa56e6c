"""A field stands in the config more than once, with different values.

## Why is this bad?
JSON leaves open what a repeated key means. Python, and with it PEFT, takes the last value without
a word; an editor shows the first, and other programs take that one or refuse the file. A merge
conflict that was resolved by keeping both sides looks like this.

## Example
```adapter
config peft_type=LORA r=8 lora_alpha=32
config lora_alpha=16   # TG125
```

## Instead
Keep the value of the training and delete the other.

```adapter
config peft_type=LORA r=8 lora_alpha=16
```

The same value twice changes nothing:

```adapter
config peft_type=LORA r=8 lora_alpha=16
config lora_alpha=16
```

## Source
RFC 8259, section 4; `json.load` of Python, with which PEFT 0.21.2 reads the config in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from trainguard.facts.adapter import AdapterConfig, brief, shown, spelled
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_MOST = 20
"""Fields that are told one by one."""


@check("TG125", severity=Severity.WARNING, precision=Precision.EXACT)
def repeated_config_field(config: AdapterConfig) -> Iterator[Finding]:
    """Fire for each field with more than one value; of very many, the first stand for all."""
    for key, values in islice(_contradicted(config), _MOST):
        yield Finding(
            f"{brief(key)} stands {len(values)} times in adapter_config.json, first as "
            f"{shown(values[0])} and last as {shown(values[-1])}: the loader takes the last one "
            "without a word",
            fix=f"keep the {brief(key)} of the training in adapter_config.json and delete the "
            "others",
            location=config.location(key),
            evidence={
                "field": key,
                "count": len(values),
                "values": [shown(value) for value in values[:10]],
            },
        )


def _contradicted(config: AdapterConfig) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for key, values in config.repeated.items():
        if len({spelled(value) for value in values}) > 1:
            yield key, values
