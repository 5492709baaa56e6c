"""Damage to a safetensors file: its header by the format's own rules, and the values."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from .errors import NotApplicableError
from .json_wise import JSON_WISE

_DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F4", "I64", "U8", "BOOL", "C64", "X", "f32")
_SIZES = (0, 1, -1, 2**31, 2**32 + 1, 2**63, 2**64 - 1, 2**64, 10**400, 0.5, True, "4", None, [1])
_NAMES = ("", "x", "__metadata__", "\0", "\x1b[2J", "lora_A.weight", "base_model.model", "." * 1000)
#: A NaN or an infinity of each dtype, low byte first.
_NONFINITE = {
    "F32": (0x7FC00000, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000),
    "BF16": (0x7FC0, 0xFFC1, 0x7F81, 0x7F80, 0xFF80),
}
_BYTES = {"F32": 4, "BF16": 2}


def change_the_header(content: bytes, random: Random, donor: bytes) -> bytes:
    """Any key or value of the header; the length before it is right."""
    header, data = _parts(content)
    return _joined(random.choice(JSON_WISE)(header, random, donor), data)


def change_an_entry(content: bytes, random: Random, donor: bytes) -> bytes:
    header, data = _parts(content)
    entries = _entries(header)
    name = random.choice(_names(entries))
    random.choice(_ON_ENTRIES)(entries, name, random)
    return _joined(json.dumps(entries).encode(), data)


def exchange_entries(content: bytes, random: Random, donor: bytes) -> bytes:
    """Two tensors change places, or one takes the place of the other."""
    header, data = _parts(content)
    entries = _entries(header)
    first, second = (random.choice(_names(entries)) for _ in range(2))
    entries[first], entries[second] = entries[second], random.choice(list(entries.values()))
    return _joined(json.dumps(entries).encode(), data)


def pad(content: bytes, random: Random, donor: bytes) -> bytes:
    header, data = _parts(content)
    return _joined(header + random.choice((b" ", b"\0", b"\n", b" " * 10**6)), data)


def plant_nonfinite(content: bytes, random: Random, donor: bytes) -> bytes:
    header, data = _parts(content)
    entries = _entries(header)
    entry = entries[random.choice(_names(entries))]
    dtype = str(entry.get("dtype"))
    start, end = _range(entry, data)
    if dtype not in _BYTES or start == end:
        raise NotApplicableError
    size = _BYTES[dtype]
    at = random.randrange(start, end, size)
    value = random.choice(_NONFINITE[dtype]).to_bytes(size, "little")
    return _joined(header, data[:at] + value + data[at + size :])


def zero_the_updates(content: bytes, random: Random, donor: bytes) -> bytes:
    """Some or all second factors of a LoRA become what they were before the first step."""
    header, data = _parts(content)
    entries = _entries(header)
    factors = [name for name in _names(entries) if ".lora_B." in name]
    if not factors:
        raise NotApplicableError
    for name in random.sample(factors, random.randint(1, len(factors))):
        start, end = _range(entries[name], data)
        data = data[:start] + bytes(end - start) + data[end:]
    return _joined(header, data)


def enlarge(content: bytes, random: Random, donor: bytes) -> bytes:
    """The largest finite values, whose squares overflow."""
    header, data = _parts(content)
    at = random.randrange(0, max(len(data) - 64, 1), 4)
    return _joined(header, data[:at] + struct.pack("<I", 0x7F7F7F7F) * 16 + data[at + 64 :])


HEADER_WISE = (change_the_header, change_an_entry, exchange_entries, pad)
VALUE_WISE = (plant_nonfinite, zero_the_updates, enlarge)


def _set_dtype(entries: Any, name: str, random: Random) -> None:
    entries[name]["dtype"] = random.choice(_DTYPES)


def _set_size(entries: Any, name: str, random: Random) -> None:
    _set_one(entries[name]["shape"], random)


def _set_offset(entries: Any, name: str, random: Random) -> None:
    offsets = entries[name]["data_offsets"]
    at = random.randrange(len(offsets))
    if random.random() < 0.5 or type(offsets[at]) is not int:
        _set_one(offsets, random)
    else:
        offsets[at] += random.choice((-8, -4, -1, 1, 4, 8))


def _set_one(sizes: list[Any], random: Random) -> None:
    sizes[random.randrange(len(sizes))] = random.choice(_SIZES)


def _reshape(entries: Any, name: str, random: Random) -> None:
    entries[name]["shape"] = random.choice(
        (entries[name]["shape"][::-1], [*entries[name]["shape"], 1], [1] * 1000, [], [0, 2**63])
    )


def _rename(entries: Any, name: str, random: Random) -> None:
    new = random.choice((*_NAMES, f"{name}.weight", name.replace("lora_", "ia3_"), name[17:]))
    entries[new] = entries.pop(name)


_ON_ENTRIES: tuple[Callable[[Any, str, Random], None], ...] = (
    _set_dtype,
    _set_size,
    _set_offset,
    _reshape,
    _rename,
)


def _parts(content: bytes) -> tuple[bytes, bytes]:
    end = 8 + int.from_bytes(content[:8], "little")
    if len(content) < end:
        raise NotApplicableError
    return content[8:end], content[end:]


def _joined(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def _entries(header: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError):
        raise NotApplicableError from None
    if not isinstance(entries, dict) or not _names(entries):
        raise NotApplicableError
    return entries


def _range(entry: dict[str, Any], data: bytes) -> tuple[int, int]:
    """The bytes of a tensor, if an earlier change left it some."""
    offsets = entry["data_offsets"]
    if len(offsets) != 2 or any(type(offset) is not int for offset in offsets):
        raise NotApplicableError
    start, end = offsets
    if not 0 <= start <= end <= len(data):
        raise NotApplicableError
    return start, end


def _names(entries: dict[str, Any]) -> list[str]:
    return [
        name
        for name, entry in entries.items()
        if isinstance(entry, dict)
        and isinstance(entry.get("shape"), list)
        and isinstance(entry.get("data_offsets"), list)
        and entry["shape"]
        and entry["data_offsets"]
    ]
