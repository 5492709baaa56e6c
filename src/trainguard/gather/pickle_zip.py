"""The directory of a zip archive, as torch.save writes one, within bounds.

torch stores its members uncompressed, so that a tensor has a place in the file. Nothing is
unpacked here but the head of a pickle that someone compressed.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from trainguard.gather.pickle_stream import PickleError

START: Final = b"PK\x03\x04"
_LARGEST_DIRECTORY: Final = 32 * 1024 * 1024
_MOST_MEMBERS: Final = 200_000
_LARGEST_UNPACKED: Final = 64 * 1024 * 1024
_STORED, _DEFLATED = 0, 8
_ENCRYPTED: Final = 0x2041
_FOLDER: Final = 0x10
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_WIDE: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file in the archive, by the archive's directory."""

    name: str
    stored: bool
    """Whether its bytes stand in the file as they are."""
    start: int
    end: int
    """Its bytes in the archive."""
    size: int
    """Unpacked, as it claims."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the directory."""

    name: str
    flags: int
    method: int
    packed: int
    unpacked: int
    place: int
    folder: bool


def read_directory(file: BinaryIO, size: int) -> list[Member]:
    """The members of an archive.

    Raises:
        PickleError: the archive breaks a rule of the format, or is of no kind that torch reads.
        OSError: reading failed.
    """
    offset, length = _find_directory(file, size)
    if length > _LARGEST_DIRECTORY:
        raise PickleError(f"is a zip archive with a directory of {length} bytes")
    if offset + length > size:
        raise PickleError("is cut short: it is a zip archive without its directory")
    members = []
    names = set()
    for entry in _entries(_read_at(file, offset, length)):
        members.append(_member(file, size, entry))
        # torch looks names up without regard to case.
        if entry.name.lower() in names:
            raise PickleError(f"is a zip archive with two members called {entry.name!a}")
        names.add(entry.name.lower())
    return members


def _member(file: BinaryIO, size: int, entry: _Entry) -> Member:
    name, stored = entry.name, entry.method == _STORED
    if entry.flags & _ENCRYPTED:
        raise PickleError(f"is a zip archive with the encrypted member {name!a}")
    readable = entry.packed == entry.unpacked if stored else entry.method == _DEFLATED
    if not readable:
        raise PickleError(f"is a zip archive with the member {name!a}, which torch cannot read")
    if entry.folder and entry.unpacked:
        # torch then reads nothing and hands out memory as it was.
        raise PickleError(f"is a zip archive that calls its member {name!a} a folder")
    start = _data_start(file, size, entry.place, name)
    end = start + entry.packed
    if end > size:
        raise PickleError(f"is cut short: its member {name!a} ends behind the file's end")
    return Member(name=name, stored=stored, start=start, end=end, size=entry.unpacked)


def open_member(file: BinaryIO, member: Member) -> tuple[BinaryIO, int, int]:
    """A member's bytes: a file, and the start and end in it.

    Raises:
        PickleError: it cannot be unpacked, or is too large for that.
    """
    if member.stored:
        return file, member.start, member.end
    packed_size = member.end - member.start
    if max(member.size, packed_size) > _LARGEST_UNPACKED:
        raise PickleError(f"is a zip archive whose member {member.name!a} is compressed and large")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        packed = _read_at(file, member.start, packed_size)
        content = unpacker.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise PickleError(f"cannot be unpacked at its member {member.name!a}: {error}") from None
    if len(content) != member.size:
        raise PickleError(f"is a zip archive whose member {member.name!a} has not the stated size")
    return io.BytesIO(content), 0, len(content)


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int]:
    tail_start = max(0, size - _END.size - 0xFFFF)
    tail = _read_at(file, tail_start, size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise PickleError("is cut short: it is a zip archive without its directory")
    *_, length, offset, _ = _END.unpack_from(tail, at)
    if (
        length == _WIDE
        or offset == _WIDE
        or tail[max(at - 20, 0) : max(at - 16, 0)] == b"PK\x06\x07"
    ):
        return _find_wide_directory(file, size, tail[max(at - 20, 0) : at], (offset, length))
    return offset, length


def _find_wide_directory(
    file: BinaryIO, size: int, locator: bytes, narrow: tuple[int, int]
) -> tuple[int, int]:
    place = int.from_bytes(locator[8:16], "little")
    if len(locator) < 20 or locator[:4] != b"PK\x06\x07" or place + _END_64.size > size:
        raise PickleError("is a zip archive whose directory cannot be found")
    signature, *_, length, offset = _END_64.unpack(_read_at(file, place, _END_64.size))
    # Where the two records differ, readers differ in which of them they believe.
    agreed = all(old in (_WIDE, new) for old, new in zip(narrow, (offset, length), strict=True))
    if signature != b"PK\x06\x06" or not agreed:
        raise PickleError("is a zip archive with two different directories")
    return offset, length


def _entries(directory: bytes) -> Iterator[_Entry]:
    at = 0
    count = 0
    while at < len(directory):
        count += 1
        if count > _MOST_MEMBERS or at + _ENTRY.size > len(directory):
            raise PickleError("is a zip archive whose directory is broken or too long")
        fields = _ENTRY.unpack_from(directory, at)
        if fields[0] != b"PK\x01\x02":
            raise PickleError("is a zip archive whose directory is broken")
        flags, method, sizes, place = fields[3], fields[4], fields[8:10], fields[16]
        after_name = at + _ENTRY.size + fields[10]
        name = directory[at + _ENTRY.size : after_name].decode("utf-8", "replace")
        extra = directory[after_name : after_name + fields[11]]
        packed, unpacked, place = _widened(extra, (sizes[0], sizes[1], place))
        yield _Entry(name, flags, method, packed, unpacked, place, bool(fields[15] & _FOLDER))
        at = after_name + fields[11] + fields[12]


def _widened(extra: bytes, sizes: tuple[int, int, int]) -> tuple[int, int, int]:
    """Packed size, size and place, from the 64-bit field where the 32-bit ones are full."""
    packed, unpacked, place = sizes
    if _WIDE not in sizes:
        return sizes
    wide = _wide_field(extra)
    values = [int.from_bytes(wide[i : i + 8], "little") for i in range(0, len(wide) - 7, 8)]
    if len(values) < sizes.count(_WIDE):
        raise PickleError("is a zip archive whose directory is broken")
    # The field's order is size, packed size, place; only the full ones are in it.
    unpacked = values.pop(0) if unpacked == _WIDE else unpacked
    packed = values.pop(0) if packed == _WIDE else packed
    place = values.pop(0) if place == _WIDE else place
    return packed, unpacked, place


def _wide_field(extra: bytes) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _data_start(file: BinaryIO, size: int, place: int, name: str) -> int:
    if place + _LOCAL.size > size:
        raise PickleError(f"is cut short: its member {name!a} begins behind the file's end")
    header = _LOCAL.unpack(_read_at(file, place, _LOCAL.size))
    if header[0] != START:
        raise PickleError(f"is a zip archive without a member where {name!a} should be")
    local_name = _read_at(file, place + _LOCAL.size, header[9]).decode("utf-8", "replace")
    if local_name != name:
        raise PickleError(f"is a zip archive that calls one member {name!a} and {local_name!a}")
    return place + _LOCAL.size + int(header[9]) + int(header[10])


def _read_at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    found = bytearray()
    while len(found) < size:
        piece = file.read(size - len(found))
        if not piece:
            raise PickleError("is cut short: it is a zip archive that ends too early")
        found += piece
    return bytes(found)
