"""The passes over a buffer in plain Python: a small adapter is read before numpy is imported."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final, Literal

from trainguard.gather.values import Format

_UNSIGNED: Final[Mapping[int, Literal["B", "H", "I", "Q"]]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SIGNED: Final[Mapping[int, Literal["b", "h", "i", "q"]]] = {1: "b", 2: "h", 4: "i", 8: "q"}


class PlainPasses:
    """See `values.Passes`; on machines with the least significant byte first."""

    def __init__(self, buffer: memoryview, form: Format) -> None:
        self._form = form
        self._unsigned = buffer.cast(_UNSIGNED[form.width])
        self._signed = buffer.cast(_SIGNED[form.width])

    def largest(self, size: int) -> int:
        """Pattern of the largest magnitude, a NaN's included."""
        count = size // self._form.width
        positive, negative = max(self._signed[:count]), max(self._unsigned[:count])
        return max(positive, negative - self._form.sign, 0)

    def drop_nonfinite(self, size: int) -> int:
        """Zero what is no number; returns how many there were."""
        sign, limit = self._form.sign, self._form.nonfinite
        patterns = enumerate(self._unsigned[: size // self._form.width])
        bad = [index for index, pattern in patterns if pattern % sign >= limit]
        for index in bad:
            self._unsigned[index] = 0
        return len(bad)

    def is_constant(self, size: int) -> bool:
        """Whether all elements have the same pattern."""
        patterns = self._unsigned[: size // self._form.width]
        return min(patterns) == max(patterns)

    def root_mean_square(self, sample: bytes) -> float:
        """Of the finite elements of a sample."""
        numbers = _numbers(sample, self._form)
        root = math.sqrt(len(numbers))
        return math.hypot(*(number / root for number in numbers))


def _numbers(sample: bytes, form: Format) -> tuple[float, ...]:
    if form.name == "BF16":
        # The upper half of a float32.
        wide = bytearray(2 * len(sample))
        wide[2::4], wide[3::4] = sample[0::2], sample[1::2]
        return struct.unpack(f"<{len(sample) // 2}f", wide)
    if form.width == 1:
        return tuple(form.value(pattern % form.sign) for pattern in sample)
    code = {2: "e", 4: "f", 8: "d"}[form.width]
    return struct.unpack(f"<{len(sample) // form.width}{code}", sample)
