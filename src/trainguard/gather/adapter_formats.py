"""Whether an adapter that was saved in both formats is the same in both; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from trainguard.facts.adapter import PICKLE_NAME, WEIGHTS_NAME
from trainguard.facts.adapter_comparison import AdapterFormats
from trainguard.gather._tensor_bytes import same_bytes
from trainguard.gather.adapter_files import UnreadableError, header_of, open_regular, size_of
from trainguard.gather.pickle_layouts import Scan, scan
from trainguard.gather.pickle_stream import PickleError
from trainguard.gather.pickle_tensors import UnplainError, stored_tensors
from trainguard.gather.safetensors import SafetensorsError, StoredTensor


def compare_formats(folder: Path) -> AdapterFormats:
    """How the two weights files of an adapter's folder compare.

    Never raises on what the files hold.
    """
    try:
        with (
            open_regular(folder / WEIGHTS_NAME) as weights,
            open_regular(folder / PICKLE_NAME) as pickled,
        ):
            return _compared(weights, pickled)
    except (OSError, PickleError, SafetensorsError, UnplainError, UnreadableError):
        # What is wrong with which of the files is said by those who read it alone.
        problem = f"{WEIGHTS_NAME} or {PICKLE_NAME} could not be read as plain tensors"
        return AdapterFormats(problem=problem)


def _compared(weights: BinaryIO, pickled: BinaryIO) -> AdapterFormats:
    found = Scan()
    scan(pickled, size_of(pickled), found)
    stored = stored_tensors(found)
    unreadable = {tensor.name for tensor, readable in stored if not readable}
    ours = {tensor.name: tensor for tensor in header_of(weights)}
    theirs = {tensor.name: tensor for tensor, _ in stored}
    differing, uncompared = {}, []
    names = dict.fromkeys([*ours, *theirs])
    for name in names:
        difference = _described(ours.get(name), theirs.get(name))
        if difference:
            differing[name] = difference
        elif name in unreadable:
            uncompared.append(name)
        elif not same_bytes(weights, ours[name], pickled, theirs[name]):
            differing[name] = "its values"
    return AdapterFormats(total=len(names), differing=differing, uncompared=tuple(uncompared))


def _described(ours: StoredTensor | None, theirs: StoredTensor | None) -> str:
    """What differs without a look at the values; empty if nothing does."""
    if ours is None or theirs is None:
        return f"it stands in {PICKLE_NAME if ours is None else WEIGHTS_NAME} alone"
    if ours.shape != theirs.shape:
        return "its shape"
    return "its dtype" if ours.dtype != theirs.dtype else ""
