"""Comparing the version of PEFT that wrote a config with the one that trainguard knows."""

from __future__ import annotations

import re

from trainguard.checks.adapter._known_fields import VERSION

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def is_newer(version: str) -> bool:
    """Whether a version, be it `0.22.0.dev0@hash`, is above the newest that is known."""
    return _release(version) > _release(VERSION)


def _release(version: str) -> tuple[int, ...]:
    found = _NUMBERS.match(version)
    # Python refuses to read numbers of thousands of digits.
    return tuple(int(number[:9]) for number in found[0].split(".")) if found else ()
