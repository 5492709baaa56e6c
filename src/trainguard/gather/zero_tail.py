"""Zeros at the end of a weights file: what a full disk or a killed writer leaves of its content."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO

from trainguard.facts.adapter import ZeroTail
from trainguard.gather.safetensors import StoredTensor

_BLOCK = 64 * 1024


def zero_tail(file: BinaryIO, header: Sequence[StoredTensor]) -> ZeroTail | None:
    """The zeros that the tensors' bytes end with; None if they end with something else.

    Args:
        file: the file, open for reading.
        header: its tensors, in the file's order and without a gap.

    Raises:
        OSError: reading failed.
    """
    stored = [tensor for tensor in header if tensor.end > tensor.start]
    if not stored:
        return None
    start = _start_of_zeros(file, stored[0].start, stored[-1].end)
    if start == stored[-1].end:
        return None
    index = bisect_right([tensor.start for tensor in stored], start) - 1
    return ZeroTail(
        start=start,
        size=stored[-1].end - start,
        tensor=stored[index].name,
        kept=start - stored[index].start,
        whole=len(stored) - index - 1,
    )


def _start_of_zeros(file: BinaryIO, first: int, end: int) -> int:
    """The offset after the last byte between `first` and `end` that is not zero."""
    while end > first:
        begin = max(first, end - _BLOCK)
        file.seek(begin)
        kept = file.read(end - begin).rstrip(b"\0")
        if kept:
            return begin + len(kept)
        end = begin
    return first
