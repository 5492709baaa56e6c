"""Statistics of stored tensors, without torch and without a copy of a tensor.

The values are read as integers. Of finite floats, a larger magnitude has a larger bit pattern, so
the maxima of the signed and of the unsigned view give the largest magnitude of either sign, and
with it whether there is a NaN or an infinity at all and whether everything is zero. Only where
there are NaNs are they counted.

One thread: on two cores a second one read no faster, for reading is bound by the memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ldexp
from typing import BinaryIO, Protocol

from trainguard.gather.safetensors import SafetensorsError, StoredTensor

CHUNK = 512 * 1024
"""Bytes that are read at a time; they stay in a second-level cache for the passes over them."""
SMALL = 2 * 1024 * 1024
"""Bytes of tensors up to which plain Python is done before numpy is imported."""
PIECES, PIECE = 16, 512
"""How many evenly spread pieces of a tensor its typical size is taken from; bytes of each."""


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format by the bits of a non-negative number."""

    name: str
    """As safetensors spells it."""
    width: int
    """Bytes of an element."""
    mantissa: int
    """Bits."""
    bias: int
    """Of the exponent."""
    nonfinite: int
    """The smallest pattern that is no number; so are all above it."""

    @property
    def sign(self) -> int:
        """The pattern of -0.0."""
        return 1 << (8 * self.width - 1)

    def value(self, pattern: int) -> float:
        """The number that a pattern stands for, without its sign."""
        exponent, fraction = divmod(pattern, 1 << self.mantissa)
        if exponent:
            fraction += 1 << self.mantissa
        return ldexp(fraction, max(exponent, 1) - self.bias - self.mantissa)


FORMATS = {
    form.name: form
    for form in (
        Format("F64", 8, 52, 1023, 0x7FF0 << 48),
        Format("F32", 4, 23, 127, 0x7F80 << 16),
        Format("F16", 2, 10, 15, 0x7C00),
        Format("BF16", 2, 7, 127, 0x7F80),
        Format("F8_E5M2", 1, 2, 15, 0x7C),
        Format("F8_E4M3", 1, 3, 7, 0x7F),
    )
}


class Passes(Protocol):
    """The passes over the first bytes of a buffer, which hold one element at least."""

    def largest(self, size: int) -> int:
        """Pattern of the largest magnitude of the first `size` bytes, a NaN's included."""

    def drop_nonfinite(self, size: int) -> int:
        """Zero the elements there that are no numbers; returns how many they were."""

    def is_constant(self, size: int) -> bool:
        """Whether all elements there have the same pattern."""

    def root_mean_square(self, sample: bytes) -> float:
        """Of finite elements that were taken out of the buffer."""


@dataclass(slots=True)
class Statistics:
    """What the elements of a tensor are like; that of an empty one is all zeros."""

    nonfinite: int = 0
    """Elements that are NaN or infinite."""
    largest: float = 0.0
    """Largest magnitude of the finite elements."""
    constant: float | None = None
    """The number that all elements are, if they are all the same; -0.0 is 0.0."""
    rms: float = 0.0
    """Root mean square of the finite elements, in a large tensor of evenly spread pieces of it."""


def measured(file: BinaryIO, tensors: Sequence[StoredTensor]) -> Iterator[Statistics | None]:
    """The statistics of tensors in turn; None for a dtype that is not a float of 8 to 64 bits.

    Args:
        file: the file, open for reading without a buffer of its own.
        tensors: where each of them stands in it, the elements one after the other.

    Raises:
        SafetensorsError: the file became shorter since its header was read.
        OSError: reading failed.
    """
    start_passes = _chosen(sum(tensor.end - tensor.start for tensor in tensors))
    buffer = memoryview(bytearray(CHUNK))
    for tensor in tensors:
        form = FORMATS.get(tensor.dtype)
        yield _statistics(file, tensor, form, buffer, start_passes(buffer, form)) if form else None


def _chosen(size: int) -> Callable[[memoryview, Format], Passes]:
    if size <= SMALL and sys.byteorder == "little":
        from trainguard.gather.values_plain import PlainPasses

        return PlainPasses
    from trainguard.gather.values_numpy import NumpyPasses

    return NumpyPasses


def _statistics(
    file: BinaryIO, tensor: StoredTensor, form: Format, buffer: memoryview, passes: Passes
) -> Statistics:
    if tensor.start == tensor.end:
        return Statistics()
    nonfinite = largest = 0
    sample = _Sample(tensor.end - tensor.start)
    constant = _Constant(form.width)
    for size in _chunks(file, tensor, buffer):
        most = passes.largest(size)
        constant.add(buffer[:size], passes)
        if most >= form.nonfinite:
            nonfinite += passes.drop_nonfinite(size)
            most = passes.largest(size)
        largest = max(largest, most)
        sample.add(buffer[:size])
    return Statistics(
        nonfinite=nonfinite,
        largest=form.value(largest),
        constant=None if nonfinite else constant.value(form) if largest else 0.0,
        rms=passes.root_mean_square(sample.bytes),
    )


class _Constant:
    """Whether a tensor has one pattern only, chunk by chunk."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._first = b""
        self._holds = True

    def add(self, chunk: memoryview, passes: Passes) -> None:
        if not self._holds:
            return
        start, end = bytes(chunk[: self._width]), bytes(chunk[-self._width :])
        self._first = self._first or start
        self._holds = start == end == self._first and passes.is_constant(len(chunk))

    def value(self, form: Format) -> float | None:
        pattern = int.from_bytes(self._first, "little")
        magnitude = form.value(pattern % form.sign)
        return (-magnitude if pattern >= form.sign else magnitude) if self._holds else None


class _Sample:
    """Evenly spread pieces of a tensor, or all of a small one, chunk by chunk."""

    def __init__(self, size: int) -> None:
        """`size` is that of the tensor in bytes."""
        self.bytes = b""
        self._is_whole = size <= PIECES * PIECE
        self._step = size // PIECES // 8 * 8
        self._next = 0
        """Where the next piece begins, from the start of the chunk that is to come."""

    def add(self, chunk: memoryview) -> None:
        if self._is_whole:
            self.bytes += chunk
            return
        while self._next < len(chunk):
            self.bytes += chunk[self._next : self._next + PIECE]
            self._next += self._step
        self._next -= len(chunk)


def _chunks(file: BinaryIO, tensor: StoredTensor, buffer: memoryview) -> Iterator[int]:
    """Fills the buffer with one part of the tensor after the other; gives the bytes of each.

    Read, not mapped: it is as fast, and a file that another process truncates meanwhile (a run
    that is saving) gives an error here and a bus error there.
    """
    file.seek(tensor.start)
    left = tensor.end - tensor.start
    while left:
        size = min(left, len(buffer))
        done = file.readinto(buffer[:size])  # type: ignore[attr-defined]
        while done < size:
            read = file.readinto(buffer[done:size])  # type: ignore[attr-defined]
            if not read:
                raise SafetensorsError("became shorter while it was read")
            done += read
        yield size
        left -= size
