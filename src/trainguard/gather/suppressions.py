"""Suppressions in the comments of a Python file."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator

from trainguard.facts.suppression import Suppression

_MARK = "trainguard:"
_COMMENT = re.compile(
    r"#\s*trainguard:\s*ignore(?P<file>-file)?\[(?P<names>[^\]]+)\]\s*(?P<reason>.*)$"
)


def suppressions(text: str) -> Iterator[Suppression]:
    """The suppressions of a source text; of one that is no Python, those before its fault.

    `ignore[...]` is about its own line, or, alone on a line, about the next line of code;
    `ignore-file[...]` about the whole file. What stands in a string is no comment.
    """
    if _MARK not in text:
        return
    lines = text.splitlines()
    for number, comment, stands_alone in _comments(text):
        found = _COMMENT.search(comment)
        names = found and tuple(name.strip() for name in found["names"].split(",") if name.strip())
        if not found or not names:
            continue
        about = _next_code(lines, number) if stands_alone else number
        yield Suppression(
            names=names,
            reason=found["reason"].strip(),
            line=None if found["file"] else about,
            written=number,
        )


def _comments(text: str) -> Iterator[tuple[int, str, bool]]:
    """The line of each comment, from 1, its text, and whether it has the line to itself."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string, token.line.lstrip().startswith("#")
    except (tokenize.TokenError, SyntaxError, ValueError):  # what follows was not checked either
        return


def _next_code(lines: list[str], number: int) -> int:
    """The first line after this one that is neither blank nor a comment."""
    for later, line in enumerate(lines[number:], start=number + 1):
        if line.strip() and not line.lstrip().startswith("#"):
            return later
    return number
