"""A comment in a file that takes findings out of the report, with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """One `# trainguard: ignore[name] reason`."""

    names: tuple[str, ...]
    """Names or codes of checks, as they were written."""
    reason: str
    """What follows the brackets; empty if nothing does."""
    line: int | None
    """The line that it is about, from 1; None for the whole file."""

    def covers(self, code: str, name: str, line: int | None) -> bool:
        """Whether it is about this finding."""
        is_named = any(word in (code, name) for word in self.names)
        return is_named and self.line in (None, line)
