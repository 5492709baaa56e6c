"""Docstrings of the library are Markdown; autodoc reads reStructuredText."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)(?=(\w?))")
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")


def as_restructured_text(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Rewrite a docstring's lines in place: code in backticks, and indented blocks of code."""
    text = _CODE.sub(_literal, "\n".join(lines))
    lines[:] = _marked_blocks(text.split("\n"))


def _literal(match: re.Match[str]) -> str:
    """A literal ends at a blank, which a backslash hides: `SummaryWriter`s."""
    return f"``{match[1]}``" + ("\\ " if match[2] else "")


def _marked_blocks(lines: list[str]) -> list[str]:
    """The lines with `::` before each block that is indented, up to the first section."""
    marked: list[str] = []
    in_block = in_sections = False
    for line in lines:
        in_sections = in_sections or bool(_SECTION.match(line))
        if line.strip() and not in_sections:
            is_indented = line.startswith("    ")
            if is_indented and not in_block and marked[-1:] == [""]:
                marked += ["::", ""]
            in_block = is_indented
        marked.append(line)
    return marked


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the step, ahead of the one that reads the sections."""
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
