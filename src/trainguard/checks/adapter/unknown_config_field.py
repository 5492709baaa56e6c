"""A field of the config is none that PEFT has.

## Why is this bad?
PEFT drops the fields that a config's type does not have, with a UserWarning that speaks of a newer
version, and gives the field that was meant its default. `lora_alhpa: 32` is an adapter of alpha 8,
a quarter of the strength that was trained; `use_drora: true` loads a DoRA adapter without its
magnitudes.

## Example
```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config lora_alhpa=32   # TG115
```

A field of another type is ignored as well; here the strength is `alpha`:

```adapter
config peft_type=LOHA r=8
config lora_alpha=32   # TG115
```

A config that a newer PEFT wrote may have fields that trainguard cannot know yet; this is told as
information:

```adapter
config peft_type=LORA r=8 lora_alpha=16 peft_version=99.0.0
config use_something_new=true   # TG115
```

## Instead
Write the field as the config's class spells it, or take it out.

```adapter
config peft_type=LORA r=8 lora_alpha=16 use_dora=false peft_version=0.21.2
```

A field that an older PEFT wrote and a newer one has given up is nobody's mistake, nor is a type
that trainguard does not know:

```adapter
config peft_type=LORA r=8 lora_alpha=16 enable_lora=none merge_weights=false runtime_config='{}'
```

```adapter
config peft_type=BONE r=64 init_weights=bat
```

## Source
PEFT 0.21.2: `PeftConfigMixin.from_peft_type`, and the fields of all its configs' classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from trainguard.checks.adapter._known_fields import COMMON, FIELDS, VERSION
from trainguard.checks.adapter._versions import is_newer
from trainguard.facts.adapter import AdapterConfig, brief, shown
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

#: What earlier versions of PEFT wrote into configs of a type, and the newest no longer has.
_REMOVED: Mapping[str, frozenset[str]] = {
    "ADALORA": frozenset({"enable_lora", "merge_weights"}),
    "LORA": frozenset({"enable_lora", "merge_weights"}),
    "OFT": frozenset({"alpha_pattern", "rank_pattern"}),
}
_ALIKE = 0.8
"""Similarity, from 0 to 1, from which one name is taken for a slip of the other."""
_MOST = 20
"""Fields that are told one by one; a file with more of them is no config of PEFT's."""


@check("TG115", severity=Severity.WARNING, precision=Precision.HIGH, explains=("TG111",))
def unknown_config_field(config: AdapterConfig) -> Iterator[Finding]:
    """Fire for each field that the config's type has in no version of PEFT up to the table's.

    Of very many, the first ones stand for all.
    """
    if config.peft_type not in FIELDS:
        return
    fields = {**COMMON, **FIELDS[config.peft_type]}
    removed = _REMOVED.get(config.peft_type, frozenset())
    newer = is_newer(config.text("peft_version") or "")
    unknown = (key for key in config.values if key not in fields and key not in removed)
    for key in islice(unknown, _MOST):
        yield _newer(config, key) if newer else _unknown(config, key, fields)


def _unknown(config: AdapterConfig, key: str, fields: Mapping[str, object]) -> Finding:
    meant = _meant(key, [name for name in fields if name not in config.values])
    effect = f" and takes {shown(fields[meant])} for {meant}, which is missing" if meant else ""
    return Finding(
        f"{brief(key)} is no field of {config.peft_type} in PEFT up to {VERSION}, so the loader "
        f"ignores its value {shown(config.values[key])} with a warning{effect}",
        fix=f"rename {brief(key)} to {meant} in adapter_config.json"
        if meant
        else f"take {brief(key)} out of adapter_config.json, or spell it as PEFT does",
        location=config.location(key),
        evidence={"field": key, "meant": meant, "default": fields[meant] if meant else None},
    )


def _meant(key: str, absent: list[str]) -> str | None:
    import difflib  # longer to import than all that most configs need

    near = difflib.get_close_matches(key[:100], absent, n=1, cutoff=_ALIKE)
    return near[0] if near else None


def _newer(config: AdapterConfig, key: str) -> Finding:
    version = brief(config.text("peft_version") or "")
    return Finding(
        f"{brief(key)} is no field of {config.peft_type} in PEFT {VERSION}, while PEFT {version} "
        "wrote the config, so an older PEFT ignores the field with a warning",
        fix=f"load the adapter with PEFT {version} or later",
        location=config.location(key),
        evidence={"field": key, "peft_version": version},
        severity=Severity.INFO,
        precision=Precision.MEDIUM,
    )
