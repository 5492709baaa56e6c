"""Event files of TensorBoard, read by its own reader where that is installed."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from trainguard.gather.adapter_files import open_regular, size_of
from trainguard.gather.log_entries import NAMES, LogEntry, entry_of

MISSING = "an event file is read by TensorBoard's own reader: pip install tensorboard"

MAX_RECORD = 2**24
"""Bytes; the reader loads a record at once, and a scalar is a hundred."""

_TAGS = frozenset(name for names in NAMES.values() for name in names)
#: Length as 8 bytes and its checksum as 4 before the content, a checksum of 4 after it.
_LENGTH = struct.Struct("<Q")
_BEFORE, _AFTER = 12, 4


def event_entries(path: Path) -> Iterator[LogEntry]:
    """The logged steps of an event file, in the order of the steps.

    Raises:
        ImportError: TensorBoard is not installed.
        ValueError: a record is longer than `MAX_RECORD`.
    """
    from tensorboard.backend.event_processing import event_file_loader
    from tensorboard.util.tensor_util import make_ndarray

    with open_regular(path) as file:
        _demand_short_records(file)
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for event in event_file_loader.EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            # A tensor that claims dimensions would be filled up to them, however many.
            if value.tag.lower() in _TAGS and not value.tensor.tensor_shape.dim:
                steps[event.step][value.tag] = make_ndarray(value.tensor).item()
    for step in sorted(steps):
        if (entry := entry_of({**steps[step], "step": step}, None)) is not None:
            yield entry


def _demand_short_records(file: BinaryIO) -> None:
    size, at = size_of(file), 0
    while at + _BEFORE <= size:
        file.seek(at)
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        if length > MAX_RECORD:
            raise ValueError(f"the record at byte {at} is {length} bytes long")
        at += _BEFORE + length + _AFTER
