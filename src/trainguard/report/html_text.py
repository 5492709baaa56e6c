"""Text that comes from files, made harmless and short enough for a page."""

from __future__ import annotations

import re
from html import escape

#: Characters of one text that are shown.
MOST = 2000
_CODE = re.compile(r"`([^`]+)`")


def escaped(text: str) -> str:
    """Any text as it is to be read: markup, control characters and endless lengths lose power."""
    clean = "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}"
        for character in text[:MOST].expandtabs(4)
    )
    return escape(clean + (" …" if len(text) > MOST else ""))


def prose(text: str) -> str:
    """The same, with what stands between backticks set as code."""
    return _CODE.sub(r"<code>\1</code>", escaped(text))


def plural(number: int, noun: str) -> str:
    """A number and what is counted."""
    shown = f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if number > 9999 else number
    return f"{shown} {noun}" if number == 1 else f"{shown} {noun}s"


def coarse(value: float) -> str:
    """A number for a legend, in two significant digits, three of a large one."""
    return number(value, digits=2 if abs(value) < 10 else 3)


def number(value: float, digits: int = 4) -> str:
    """A number in so many significant digits, or a whole one from a thousand on; NaN and inf."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if 1000 <= abs(value) < 1e6:
        return f"{value:.0f}"
    text = f"{value:.{digits}g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
