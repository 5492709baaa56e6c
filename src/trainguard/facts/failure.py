"""Failures of trainguard itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainguard.facts.notation import Line


@dataclass(frozen=True, slots=True)
class Failure:
    """Something trainguard wanted to look at and could not."""

    what: str
    """The check, reader or observer that failed."""
    error: str
    """The exception, as one line."""


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`what=... error=...`, one failure a line."""
    return {Failure: tuple(Failure(**line.fields) for line in lines)}
