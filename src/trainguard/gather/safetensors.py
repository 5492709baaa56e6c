"""The safetensors format: its header, by the format's own rules.

A file is 8 bytes (the header's length N, little-endian), N bytes of JSON, and the tensors' bytes
without a gap. Nothing here reads a value or imports numpy; see `safetensors_values`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from trainguard.gather._json_bounds import demand_few_values

LONGEST_HEADER = 100_000_000
"""Bytes; the reference implementation refuses more."""
_LARGEST = 2**64
_FIELDS = ("__metadata__", "dtype", "shape", "data_offsets")
_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 64),
}


class SafetensorsError(Exception):
    """The file breaks a rule of the format.

    The message continues the sentence that the file's name begins: "is cut short: ...".
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One entry of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte in the file, not in the data section."""
    end: int
    """First byte after it."""


def read_header(file: BinaryIO, size: int) -> tuple[StoredTensor, ...]:
    """The tensors of a file, by their position in it.

    Args:
        file: open for reading, at its start.
        size: of the whole file, in bytes.

    Raises:
        SafetensorsError: the file breaks a rule of the format.
        OSError: reading failed.
    """
    if size < 8:
        raise SafetensorsError(f"is cut short: it has {size} bytes, the format begins with 8")
    length = int.from_bytes(_read(file, 8), "little")
    if length > LONGEST_HEADER:
        raise SafetensorsError(
            f"is not in the safetensors format: it claims a header of {length} bytes, "
            f"{LONGEST_HEADER} are allowed"
        )
    if 8 + length > size:
        raise SafetensorsError(
            f"is cut short: it claims a header of {length} bytes, {size - 8} bytes follow"
        )
    return parse_header(_read(file, length), size - 8 - length)


def parse_header(header: bytes, data_size: int) -> tuple[StoredTensor, ...]:
    """The tensors that a header's JSON states, by their position.

    Args:
        header: the N bytes after the length.
        data_size: how many bytes follow the header.

    Raises:
        SafetensorsError: the header breaks a rule of the format.
    """
    entries = _parse_json(header)
    _check_metadata(entries.pop("__metadata__", None))
    base = 8 + len(header)
    tensors = [_entry(name, entry, base) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    _check_layout(tensors, base, data_size)
    return tuple(tensors)


def _read(file: BinaryIO, wanted: int) -> bytes:
    found = bytearray()
    while len(found) < wanted:
        piece = file.read(wanted - len(found))
        if not piece:
            raise SafetensorsError("became shorter while it was read")
        found += piece
    return bytes(found)


def _parse_json(header: bytes) -> dict[str, Any]:
    try:
        demand_few_values(header)
        entries = json.loads(
            header.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_object
        )
    except UnicodeDecodeError as error:
        raise SafetensorsError(
            f"has a header that is not UTF-8 (byte {8 + error.start} of the file)"
        ) from None
    except json.JSONDecodeError as error:
        place = f"{error.msg}, character {error.pos}"
        raise SafetensorsError(f"has a header that is not valid JSON ({place})") from None
    except RecursionError:
        raise SafetensorsError("has a header of JSON that is nested too deeply") from None
    except ValueError as error:
        raise SafetensorsError(f"has a header that is not valid JSON ({error})") from None
    if not isinstance(entries, dict):
        raise SafetensorsError(
            f"has a header that is a JSON {type(entries).__name__}, not an object"
        )
    return entries


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The reference implementation takes the last of two tensors, but no field twice."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        for field in _FIELDS:
            if names.count(field) > 1:
                raise ValueError(f"an object has {field} twice")
    return entries


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def _check_metadata(metadata: Any) -> None:
    is_text = isinstance(metadata, dict) and all(
        isinstance(value, str) and _is_text(key) and _is_text(value)
        for key, value in metadata.items()
    )
    if metadata is not None and not is_text:
        raise SafetensorsError("has metadata that is not a map from text to text")


def _entry(name: str, entry: Any, base: int) -> StoredTensor:
    if not _is_text(name):
        raise SafetensorsError(f"has a tensor name that is not valid Unicode ({name!a})")
    if not isinstance(entry, Mapping):
        raise SafetensorsError(f"describes {name} by a JSON {type(entry).__name__}, not an object")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise SafetensorsError(f"gives {name} the dtype {_brief(dtype)}, which the format has not")
    shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if shape is None:
        raise SafetensorsError(f"gives {name} the shape {_brief(entry.get('shape'))}")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        offered = _brief(entry.get("data_offsets"))
        raise SafetensorsError(f"gives {name} the byte range {offered}, not a start and an end")
    _check_bytes(name, dtype, shape, offsets[1] - offsets[0])
    start, end = base + offsets[0], base + offsets[1]
    return StoredTensor(name=name, dtype=dtype, shape=shape, start=start, end=end)


def _is_text(text: str) -> bool:
    """A lone surrogate, which JSON can spell, is not text: no other program could print it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sizes(value: Any) -> tuple[int, ...] | None:
    """The list as sizes, or None if a member is not a whole number of 64 bits."""
    if not isinstance(value, list):
        return None
    # `true` is an int to Python but not to the format.
    valid = all(type(size) is int and 0 <= size < _LARGEST for size in value)
    return tuple(value) if valid else None


def _check_bytes(name: str, dtype: str, shape: Sequence[int], stored: int) -> None:
    bits = _BITS[dtype]
    for size in shape:
        bits *= size
        if bits >= _LARGEST * 8:
            raise SafetensorsError(f"gives {name} the shape {_brief(shape)}, which overflows")
    if bits != 8 * stored:
        raise SafetensorsError(
            f"stores {stored} bytes for {name}; its dtype {dtype} and shape {_brief(list(shape))} "
            f"take {bits / 8:g}"
        )


def _check_layout(tensors: Sequence[StoredTensor], base: int, data_size: int) -> None:
    """The tensors follow one another from the first byte to the last."""
    position = base
    for tensor in tensors:
        if tensor.start != position:
            fault = "overlaps the tensor before it" if tensor.start < position else "leaves a hole"
            raise SafetensorsError(
                f"stores {tensor.name} at byte {tensor.start - base} of the data, "
                f"where byte {position - base} is next: it {fault}"
            )
        position = tensor.end
    stated = position - base
    if stated > data_size:
        raise SafetensorsError(
            f"is cut short: the header states {stated} bytes of tensors, {data_size} follow"
        )
    if stated < data_size:
        raise SafetensorsError(
            f"has bytes that belong to no tensor: the header states {stated}, {data_size} follow"
        )


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
