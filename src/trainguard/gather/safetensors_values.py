"""Statistics of stored tensors, without torch and without a copy of a tensor.

The values are read as integers. Of finite floats, a larger magnitude has a larger bit pattern, so
the maxima of the signed and of the unsigned view give the largest magnitude of either sign, and
with it whether there is a NaN or an infinity at all. Only where there is are they counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from trainguard.gather.safetensors import SafetensorsError, StoredTensor

CHUNK = 512 * 1024
"""Bytes; a chunk and its copy in float64 fit into a second-level cache."""

_Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class _Float:
    """A floating-point format by the bits of a non-negative number."""

    unsigned: np.dtype[Any]
    infinity: int
    one: int

    @property
    def sign(self) -> int:
        return 1 << (8 * self.unsigned.itemsize - 1)


_FLOATS = {
    "F64": _Float(np.dtype("<u8"), 0x7FF0 << 48, 0x3FF0 << 48),
    "F32": _Float(np.dtype("<u4"), 0x7F80 << 16, 0x3F80 << 16),
    "F16": _Float(np.dtype("<u2"), 0x7C00, 0x3C00),
    "BF16": _Float(np.dtype("<u2"), 0x7F80, 0x3F80),
}


@dataclass(slots=True)
class Statistics:
    """Exact counts over all elements; norm and largest magnitude over the finite ones."""

    nonfinite: int = 0
    zeros: int = 0
    ones: int | None = 0
    """None as soon as a magnitude above 1 is seen."""
    norm: float = 0.0
    """Infinite or zero where the sum of squares leaves the range of a float64."""
    largest: float = 0.0


def measure(file: BinaryIO, tensor: StoredTensor, buffer: bytearray) -> Statistics | None:
    """The statistics of one tensor; None for a dtype that is not a float of 16 to 64 bits.

    Args:
        file: the safetensors file, open for reading without a buffer of its own.
        tensor: an entry of its header.
        buffer: room for a chunk, reused from tensor to tensor; a multiple of 8 bytes.

    Raises:
        SafetensorsError: the file became shorter since its header was read.
        OSError: reading failed.
    """
    float_format = _FLOATS.get(tensor.dtype)
    if float_format is None:
        return None
    found = Statistics()
    squares = 0.0
    for chunk in _chunks(file, tensor, buffer):
        bits = np.frombuffer(chunk, dtype=float_format.unsigned)
        squares += _add_chunk(found, bits, tensor.dtype, float_format)
    found.norm = math.sqrt(squares)
    return found


def _chunks(file: BinaryIO, tensor: StoredTensor, buffer: bytearray) -> Iterator[memoryview]:
    """The tensor's bytes, each time in the same buffer.

    Read, not mapped: it is as fast, and a file that another process truncates meanwhile (a run
    that is saving) gives an error here and a bus error there.
    """
    view = memoryview(buffer)
    file.seek(tensor.start)
    left = tensor.end - tensor.start
    while left:
        chunk = view[: min(left, len(buffer))]
        _fill(file, chunk)
        left -= len(chunk)
        yield chunk


def _fill(file: BinaryIO, chunk: memoryview) -> None:
    done = 0
    while done < len(chunk):
        read = file.readinto(chunk[done:])  # type: ignore[attr-defined]
        if not read:
            raise SafetensorsError("became shorter while it was read")
        done += read


def _add_chunk(found: Statistics, bits: _Array, dtype: str, form: _Float) -> float:
    """Add a chunk's counts; returns the sum of its squares. The chunk may be overwritten."""
    largest = _largest(bits, form)
    found.zeros += _zeros(bits, form)
    if largest >= form.infinity:
        bad = (bits & form.infinity) == form.infinity
        found.nonfinite += int(np.count_nonzero(bad))
        bits[bad] = 0
        largest = _largest(bits, form)
        found.ones = None
    if largest > form.one:
        found.ones = None
    elif largest == form.one and found.ones is not None:
        found.ones += int(np.count_nonzero(bits == form.one))
    if largest == 0:
        return 0.0
    found.largest = max(found.largest, _magnitude(largest, dtype, form))
    values = _as_float64(bits, dtype)
    with np.errstate(over="ignore", under="ignore"):
        return float(np.dot(values, values))


def _largest(bits: _Array, form: _Float) -> int:
    """Bit pattern of the largest magnitude, a NaN's included."""
    positive = int(bits.view(f"<i{form.unsigned.itemsize}").max())
    negative = int(bits.max())
    return max(positive, negative - form.sign if negative >= form.sign else 0, 0)


def _zeros(bits: _Array, form: _Float) -> int:
    zeros = len(bits) - int(np.count_nonzero(bits))
    # The pattern of -0.0 is the smallest signed integer.
    if int(bits.view(f"<i{form.unsigned.itemsize}").min()) == -form.sign:
        zeros += int(np.count_nonzero(bits == form.sign))
    return zeros


def _magnitude(pattern: int, dtype: str, form: _Float) -> float:
    return float(_as_float64(np.array([pattern], dtype=form.unsigned), dtype)[0])


def _as_float64(bits: _Array, dtype: str) -> _Array:
    if dtype == "F64":
        return bits.view("<f8")
    if dtype == "F32":
        return bits.view("<f4").astype(np.float64)
    if dtype == "F16":
        return bits.view("<f2").astype(np.float64)
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32).astype(np.float64)
