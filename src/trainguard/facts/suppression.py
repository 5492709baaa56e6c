"""A comment in a file that takes findings out of the report, with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trainguard.facts.notation import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """One `# trainguard: ignore[name] reason`."""

    names: tuple[str, ...]
    """Names or codes of checks, as they were written."""
    reason: str
    """What follows the brackets; empty if nothing does."""
    line: int | None
    """The line that it is about, from 1; None for the whole file."""
    written: int | None = None
    """The line that it stands on, from 1."""

    def covers(self, code: str, name: str, line: int | None) -> bool:
        """Whether it is about this finding."""
        is_named = any(word in (code, name) for word in self.names)
        return is_named and self.line in (None, line)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedSuppression:
    """One that took nothing out of the report, although all that it names was looked for."""

    WANTED: ClassVar[str] = "comments that suppress findings"

    names: tuple[str, ...]
    """As they were written."""
    line: int | None
    """The line that it stands on, from 1."""
    nearest: str | None = None
    """If a name is that of no check: the name that is most like it, or "" if none is."""


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`loss-spike TG501 line=3`, one unused comment a line."""
    return {
        UnusedSuppression: tuple(
            UnusedSuppression(names=line.words, **line.fields) for line in lines
        )
    }
