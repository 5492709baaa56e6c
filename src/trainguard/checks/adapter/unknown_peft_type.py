"""The config does not say which type of adapter it is, or names a type that PEFT does not have.

## Why is this bad?
`peft_type` is the one field without which nothing loads: PEFT looks the config's class up by it and
stops with a bare `KeyError`. The type is spelled in capitals, and `lora` is not found.

## Example
```adapter
config peft_type=LORAX r=8   # TG155
```

```adapter
config peft_type=lora r=8   # TG155
```

```adapter
config r=8 target_modules='["q_proj"]'   # TG155
```

A type that PEFT has given up, or that a newer PEFT has written, loads there; the first is told as a
warning, the second as information:

```adapter
config peft_type=BONE r=64   # TG155
```

```adapter
config peft_type=NEWEST r=8 peft_version=99.0.0   # TG155
```

## Instead
Write the type that was trained, as PEFT spells it.

```adapter
config peft_type=LORA r=8
```

```adapter
config peft_type=PREFIX_TUNING num_virtual_tokens=4
```

## Source
PEFT 0.21.2: `PeftConfig._get_peft_type` and `PEFT_TYPE_TO_CONFIG_MAPPING`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainguard.checks.adapter._known_fields import FIELDS, VERSION
from trainguard.checks.adapter._versions import is_newer
from trainguard.facts.adapter import AdapterConfig, brief, shown
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

_KEY = "peft_type"
#: Types that PEFT once had, each with what has taken its place.
_REMOVED = {"BONE": "MISS"}


@dataclass(frozen=True)
class _Case:
    """What is wrong with the type, and what to do about it."""

    what: str
    fix: str
    severity: Severity = Severity.ERROR


@check("TG155", severity=Severity.ERROR, precision=Precision.EXACT)
def unknown_peft_type(config: AdapterConfig) -> Iterator[Finding]:
    """Fire if the type is missing or is none that PEFT has."""
    if config.peft_type in FIELDS:
        return
    case = _case(config)
    yield Finding(
        f"{case.what}, so PEFT {VERSION} stops with an error that does not name the file",
        fix=case.fix,
        location=_location(config),
        evidence={"peft_type": config.peft_type, "known_types": len(FIELDS)},
        severity=case.severity,
    )


def _case(config: AdapterConfig) -> _Case:
    stated = shown(config.values.get(_KEY))
    if not config.peft_type:
        what = f"{_KEY} is {stated}" if _KEY in config.values else f"{_KEY} is missing"
        return _Case(what, f"set {_KEY} to the type that was trained, such as LORA")
    what = f"{_KEY} is {stated}, none of {len(FIELDS)} known types"
    version = brief(config.text("peft_version") or "")
    if is_newer(version):
        return _Case(what, f"load the adapter with PEFT {version} or later", Severity.INFO)
    if successor := _REMOVED.get(config.peft_type):
        fix = f"load it with the PEFT that wrote it, or train a {successor} adapter"
        return _Case(what, fix, Severity.WARNING)
    return _Case(what, f"set {_KEY} to {_nearest(config.peft_type)}")


def _nearest(name: str) -> str:
    import difflib  # longer to import than all that most configs need

    near = difflib.get_close_matches(name[:100].upper(), FIELDS, n=1)
    return near[0] if near else "the type that was trained, such as LORA"


def _location(config: AdapterConfig) -> Location:
    """The field, or the first one of a file that lacks it."""
    return config.location(_KEY if _KEY in config.values else next(iter(config.values), _KEY))
