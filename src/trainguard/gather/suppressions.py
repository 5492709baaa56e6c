"""Suppressions in the comments of a Python file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainguard.facts.suppression import Suppression

_MARK = "trainguard:"
_COMMENT = re.compile(
    r"#\s*trainguard:\s*ignore(?P<file>-file)?\[(?P<names>[^\]]+)\]\s*(?P<reason>.*)$"
)


def suppressions(text: str) -> Iterator[Suppression]:
    """The suppressions of a source text.

    `ignore[...]` is about its own line, or, alone on a line, about the next line of code;
    `ignore-file[...]` about the whole file.
    """
    if _MARK not in text:
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        found = _COMMENT.search(line) if _MARK in line else None
        if found is None:
            continue
        stands_alone = line.lstrip().startswith("#")
        about = _next_code(lines, number) if stands_alone else number
        yield Suppression(
            names=tuple(name.strip() for name in found["names"].split(",") if name.strip()),
            reason=found["reason"].strip(),
            line=None if found["file"] else about,
            written=number,
        )


def _next_code(lines: list[str], number: int) -> int:
    """The first line after this one that is neither blank nor a comment."""
    for later, line in enumerate(lines[number:], start=number + 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return later
    return number
