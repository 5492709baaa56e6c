"""Damage that knows nothing of the content but where lengths stand."""

from __future__ import annotations

from random import Random

_LARGEST = 2**20
"""Bytes up to which a file is made to grow."""
_NUMBERS = (
    *(0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1),
    *(10**8, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
#: Offsets of lengths, counts, flags and places in the records of a zip archive.
_ZIP_FIELDS = {
    b"PK\x03\x04": (6, 8, 18, 22, 26, 28),
    b"PK\x01\x02": (8, 10, 20, 24, 28, 30, 32, 38, 42),
    b"PK\x05\x06": (8, 10, 12, 16, 20),
    b"PK\x06\x06": (4, 24, 32, 40, 48),
    b"PK\x06\x07": (8,),
}


def flip_a_bit(content: bytes, random: Random, donor: bytes) -> bytes:
    at = _place(content, random)
    return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]


def delete(content: bytes, random: Random, donor: bytes) -> bytes:
    start, end = _block(content, random)
    return content[:start] + content[end:]


def insert(content: bytes, random: Random, donor: bytes) -> bytes:
    at = _place(content, random)
    return content[:at] + random.randbytes(random.randint(1, 16)) + content[at:]


def truncate(content: bytes, random: Random, donor: bytes) -> bytes:
    return content[: _place(content, random)]


def repeat(content: bytes, random: Random, donor: bytes) -> bytes:
    start, end = _block(content, random)
    times = random.choice((2, 3, 100, 10_000))
    times = min(times, _LARGEST // (end - start))
    return content[:start] + content[start:end] * times + content[end:]


def zero(content: bytes, random: Random, donor: bytes) -> bytes:
    start, end = _block(content, random)
    return content[:start] + bytes(end - start) + content[end:]


def splice(content: bytes, random: Random, donor: bytes) -> bytes:
    """The beginning of this file and the end of another."""
    return content[: _place(content, random)] + donor[_place(donor, random) :]


def put_a_number(content: bytes, random: Random, donor: bytes) -> bytes:
    """A number that is likely to overflow, where a length may stand."""
    at = random.choice((0, _place(content, random), *_zip_fields(content)))
    size = random.choice((1, 2, 4, 8))
    number = random.choice(_NUMBERS) % 2 ** (8 * size)
    order = random.choice(("little", "big"))
    return content[:at] + number.to_bytes(size, order) + content[at + size :]


def swap_numbers(content: bytes, random: Random, donor: bytes) -> bytes:
    """Two fields of the same width change places."""
    places = _zip_fields(content) or [0, _place(content, random)]
    first, second = sorted(random.choices(places, k=2))
    size = random.choice((2, 4, 8))
    if second < first + size:
        return insert(content, random, donor)
    a, b = content[first : first + size], content[second : second + size]
    between = content[first + size : second]
    return content[:first] + b + between + a + content[second + size :]


BYTE_WISE = (
    flip_a_bit,
    delete,
    insert,
    truncate,
    repeat,
    zero,
    splice,
    put_a_number,
    swap_numbers,
)


def _place(content: bytes, random: Random) -> int:
    return random.randrange(len(content))


def _block(content: bytes, random: Random) -> tuple[int, int]:
    start = _place(content, random)
    return start, min(len(content), start + random.choice((1, 4, 8, 64, 512)))


def _zip_fields(content: bytes) -> list[int]:
    return [
        start + offset
        for signature, offsets in _ZIP_FIELDS.items()
        for start in _all(content, signature)
        for offset in offsets
    ]


def _all(content: bytes, wanted: bytes) -> list[int]:
    found = []
    at = content.find(wanted)
    while at >= 0:
        found.append(at)
        at = content.find(wanted, at + 1)
    return found
