"""Reading a pickle's bytes and the arguments of its opcodes, within bounds.

A pickle can claim strings of 2**63 bytes and lines without an end. What is longer than a name can
honestly be is skipped, not read.
"""

from __future__ import annotations

import codecs
import warnings
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final

LONGEST_TEXT: Final = 4096
"""Bytes of a name or text that is kept; longer ones become `UNKNOWN`."""
MOST_TEXT: Final = 64 * 1024 * 1024
"""Bytes of text that are kept of one file."""
MOST_UNPACKED: Final = 256 * 1024 * 1024
"""Bytes of compressed pickles that are unpacked of one file."""
MOST_OPCODES: Final = 2_000_000
"""Per file. The optimizer's state for 100 000 tensors needs fewer."""
_LONGEST_LINE: Final = 16 * 1024 * 1024
_CHUNK: Final = 16 * 1024


class PickleError(Exception):
    """A pickle that is broken, or larger than any honest one.

    The message continues the sentence that the file's name begins.
    """


class BoundsError(PickleError):
    """The file would take more time or memory than an honest one; a loader may well take it."""


class Unknown:
    """A value whose content does not matter, or is not known."""

    __slots__ = ()


UNKNOWN: Final = Unknown()


class Budget:
    """What may still be spent on one file, whatever number of pickles it holds."""

    def __init__(self, opcodes: int = MOST_OPCODES) -> None:
        self.opcodes = opcodes
        self.text = MOST_TEXT
        self.unpacked = MOST_UNPACKED

    def spend_opcode(self) -> None:
        """Count an opcode; raises PickleError when there were too many."""
        self.opcodes -= 1
        if self.opcodes < 0:
            raise BoundsError(f"has more than {MOST_OPCODES} pickle opcodes")

    def spend_text(self, size: int) -> None:
        """Count text that is kept; raises PickleError when it was too much."""
        self.text -= size
        if self.text < 0:
            raise BoundsError(f"has more than {MOST_TEXT} bytes of text in its pickles")

    def spend_unpacked(self, size: int) -> None:
        """Count bytes to unpack; raises PickleError when there were too many."""
        self.unpacked -= size
        if self.unpacked < 0:
            raise BoundsError(f"has more than {MOST_UNPACKED} bytes of compressed pickles")


class Stream:
    """The bytes of a file from `start` to `end`, read ahead in small chunks."""

    def __init__(self, file: BinaryIO, start: int, end: int, budget: Budget) -> None:
        self._file = file
        self._next = start
        self._end = end
        self._chunk = b""
        self._at = 0
        self.budget = budget

    @property
    def position(self) -> int:
        """Of the next byte, in the file."""
        return self._next - len(self._chunk) + self._at

    @property
    def left(self) -> int:
        """Bytes to the end."""
        return self._end - self.position

    def byte(self) -> int:
        """The next byte."""
        if self._at == len(self._chunk):
            self._refill()
        self._at += 1
        return self._chunk[self._at - 1]

    def take(self, size: int) -> bytes:
        """The next few bytes."""
        if size > self.left:
            raise self._cut_short(size)
        found = bytearray()
        while len(found) < size:
            if self._at == len(self._chunk):
                self._refill()
            piece = self._chunk[self._at : self._at + size - len(found)]
            self._at += len(piece)
            found += piece
        return bytes(found)

    def skip(self, size: int) -> None:
        """Pass over bytes without reading them."""
        if size > self.left:
            raise self._cut_short(size)
        self._next = self.position + size
        self._chunk, self._at = b"", 0

    def line(self) -> bytes | None:
        """The bytes up to the next line feed, which is passed; None if they are too many."""
        found = bytearray()
        begin = self.position
        while True:
            if self._at == len(self._chunk):
                self._refill()
            stop = self._chunk.find(b"\n", self._at)
            if len(found) <= LONGEST_TEXT:
                found += self._chunk[self._at : stop if stop >= 0 else len(self._chunk)]
            self._at = stop + 1 if stop >= 0 else len(self._chunk)
            if stop >= 0:
                return bytes(found) if len(found) <= LONGEST_TEXT else None
            if self.position - begin > _LONGEST_LINE:
                raise BoundsError(f"has a line of more than {_LONGEST_LINE} bytes in its pickle")

    def number(self, size: int, *, signed: bool = False) -> int:
        """A little-endian integer."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def text(self, size: int, encoding: str = "utf-8") -> str | Unknown:
        """A string of so many bytes, or `UNKNOWN` if it is longer than a name."""
        if size < 0:
            raise PickleError(f"has a pickle with a string of {size} bytes")
        if size > LONGEST_TEXT:
            self.skip(size)
            return UNKNOWN
        return self.decode(self.take(size), encoding)

    def decode(self, raw: bytes | None, encoding: str = "utf-8") -> str | Unknown:
        """Bytes as text; `UNKNOWN` where they are too many or the loader would refuse them."""
        if raw is None:
            return UNKNOWN
        self.budget.spend_text(len(raw))
        try:
            return raw.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        except UnicodeDecodeError:
            return UNKNOWN

    def _refill(self) -> None:
        wanted = min(_CHUNK, self._end - self._next)
        self._file.seek(self._next)
        self._chunk = self._file.read(wanted) if wanted > 0 else b""
        self._at = 0
        self._next += len(self._chunk)
        if not self._chunk:
            raise PickleError(f"is cut short: its pickle goes on at byte {self._end}")

    def _cut_short(self, size: int) -> PickleError:
        return PickleError(
            f"is cut short: its pickle states {size} bytes at byte {self.position}, "
            f"{self.left} follow"
        )


def _decimal(stream: Stream) -> Any:
    line = (stream.line() or b"").strip().removesuffix(b"L")
    if line in (b"00", b"01"):
        return line == b"01"
    # Loaders take more spellings than this, such as hexadecimal ones; no writer uses them.
    return int(line) if len(line) < 20 and line.removeprefix(b"-").isdigit() else UNKNOWN


def _index(stream: Stream) -> int:
    line = stream.line()
    if line is None:
        raise BoundsError("has a pickle with an index that is too long")
    try:
        return int(line)
    except ValueError:
        raise PickleError("has a pickle with a number that is none") from None


def _long(stream: Stream, size: int) -> Any:
    if size < 0:
        raise PickleError(f"has a pickle with a number of {size} bytes")
    if size > 16:
        stream.skip(size)
        return UNKNOWN
    return stream.number(size, signed=True) if size else 0


def _quoted(stream: Stream) -> str | Unknown:
    line = stream.line()
    if line is None:
        return UNKNOWN
    line = line.strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise PickleError("has a pickle with a string that is not in quotes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that Python deprecates is still decoded
            raw = codecs.escape_decode(line[1:-1])[0] if b"\\" in line else line[1:-1]
    except ValueError:
        raise PickleError("has a pickle with a string that cannot be decoded") from None
    return stream.decode(raw)


def _escaped(stream: Stream) -> str | Unknown:
    return stream.decode(stream.line(), "raw-unicode-escape")


def _two_lines(stream: Stream) -> tuple[str | Unknown, str | Unknown]:
    return stream.decode(stream.line()), stream.decode(stream.line())


def _skipped(stream: Stream, size: int) -> Unknown:
    stream.skip(size)
    return UNKNOWN


def _skipped_line(stream: Stream) -> Unknown:
    stream.line()
    return UNKNOWN


#: The argument that follows an opcode; the others have none.
ARGUMENTS: Final[Mapping[bytes, Callable[[Stream], Any]]] = {
    b"I": _decimal,
    b"L": _decimal,
    b"J": lambda stream: stream.number(4, signed=True),
    b"K": lambda stream: stream.number(1),
    b"M": lambda stream: stream.number(2),
    b"\x8a": lambda stream: _long(stream, stream.number(1)),
    b"\x8b": lambda stream: _long(stream, stream.number(4, signed=True)),
    b"F": _skipped_line,
    b"G": lambda stream: _skipped(stream, 8),
    b"S": _quoted,
    b"T": lambda stream: stream.text(stream.number(4, signed=True)),
    b"U": lambda stream: stream.text(stream.number(1)),
    b"V": _escaped,
    b"X": lambda stream: stream.text(stream.number(4)),
    b"\x8c": lambda stream: stream.text(stream.number(1)),
    b"\x8d": lambda stream: stream.text(stream.number(8)),
    b"B": lambda stream: _skipped(stream, stream.number(4)),
    b"C": lambda stream: _skipped(stream, stream.number(1)),
    b"\x8e": lambda stream: _skipped(stream, stream.number(8)),
    b"\x96": lambda stream: _skipped(stream, stream.number(8)),
    b"c": _two_lines,
    b"i": _two_lines,
    b"g": _index,
    b"p": _index,
    b"h": lambda stream: stream.number(1),
    b"q": lambda stream: stream.number(1),
    b"j": lambda stream: stream.number(4),
    b"r": lambda stream: stream.number(4),
    b"P": _skipped_line,
    b"\x80": lambda stream: stream.number(1),
    b"\x95": lambda stream: _skipped(stream, 8),
    b"\x82": lambda stream: stream.number(1),
    b"\x83": lambda stream: stream.number(2),
    b"\x84": lambda stream: stream.number(4, signed=True),
}
