"""The passes over a buffer in numpy, about as fast as reading it."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from trainguard.gather.values import Format

_Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class NumpyPasses:
    """See `values.Passes`."""

    def __init__(self, buffer: memoryview, form: Format) -> None:
        self._form = form
        self._unsigned: _Array = np.frombuffer(buffer, dtype=f"<u{form.width}")
        self._signed = self._unsigned.view(f"<i{form.width}")

    def largest(self, size: int) -> int:
        """Pattern of the largest magnitude, a NaN's included."""
        count = size // self._form.width
        # Not the arrays' own method, which takes as long again to reach this one.
        positive = int(np.maximum.reduce(self._signed[:count]))
        negative = int(np.maximum.reduce(self._unsigned[:count]))
        return max(positive, negative - self._form.sign, 0)

    def drop_nonfinite(self, size: int) -> int:
        """Zero what is no number; returns how many there were."""
        patterns = self._unsigned[: size // self._form.width]
        bad = (patterns & (self._form.sign - 1)) >= self._form.nonfinite
        patterns[bad] = 0
        return int(np.count_nonzero(bad))

    def is_constant(self, size: int) -> bool:
        """Whether all elements have the same pattern."""
        patterns = self._unsigned[: size // self._form.width]
        return bool((patterns == patterns[0]).all())

    def root_mean_square(self, sample: bytes) -> float:
        """Of the finite elements of a sample."""
        numbers = _numbers(sample, self._form)
        if self._form.name == "F64":  # its squares may leave its range
            return math.hypot(*(numbers / math.sqrt(len(numbers))))
        return math.sqrt(float(np.dot(numbers, numbers)) / len(numbers))


def _numbers(sample: bytes, form: Format) -> _Array:
    patterns = np.frombuffer(sample, dtype=f"<u{form.width}")
    if form.name == "BF16":
        # The upper half of a float32.
        return (patterns.astype("<u4") << 16).view("<f4").astype(np.float64)
    if form.width == 1:
        table: _Array = np.array([form.value(pattern % form.sign) for pattern in range(256)])
        return table.take(patterns)
    return patterns.view(f"<f{form.width}").astype(np.float64)
