"""The text of a log: any encoding, any length of line, in bounded memory."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO, TextIO

MAX_PIECE = 2**16
"""Characters of a line that are looked at."""

_CHUNK = 2**16
_MOST_BYTES_OF_MARK = 2
#: A terminal's progress bar ends with a carriage return alone: it is drawn again in its place.
_END = re.compile(r"(\r|\n)")


def opened(stream: BinaryIO) -> TextIO:
    """The stream as text; what is no text is replaced.

    UTF-8, or UTF-16 after its byte order mark: PowerShell redirects output in that.
    """
    buffered = io.BufferedReader(stream)  # type: ignore[type-var]
    mark = buffered.peek(_MOST_BYTES_OF_MARK)[:_MOST_BYTES_OF_MARK]
    is_wide = mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if is_wide else "utf-8-sig"
    return io.TextIOWrapper(buffered, encoding, errors="replace", newline="")


def pieces(text: TextIO) -> Iterator[tuple[int, str]]:
    """What stands between line ends and carriage returns, with the number of its line, from 1.

    Of a piece that is longer than `MAX_PIECE` the rest is left out.
    """
    number, rest = 1, ""
    while chunk := text.read(_CHUNK):
        *parts, rest = _END.split(rest + chunk)
        for piece, end in zip(parts[::2], parts[1::2], strict=True):
            if piece:
                yield number, piece[:MAX_PIECE]
            number += end == "\n"
        rest = rest[:MAX_PIECE]
    if rest:
        yield number, rest
