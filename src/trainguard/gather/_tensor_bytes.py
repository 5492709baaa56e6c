"""Whether two stored tensors have the same bytes, with a bounded piece of each in memory."""

from __future__ import annotations

from typing import BinaryIO

from trainguard.gather.safetensors import SafetensorsError, StoredTensor

_CHUNK = 512 * 1024


def same_bytes(left: BinaryIO, a: StoredTensor, right: BinaryIO, b: StoredTensor) -> bool:
    """Whether the elements are the same; dtype and shape are the caller's to compare.

    Args:
        left: the file that holds `a`, open for reading.
        a: where a tensor stands.
        right: the file that holds `b`.
        b: a tensor of as many bytes.

    Raises:
        SafetensorsError: a file became shorter since its header was read.
        OSError: reading failed.
    """
    pieces = range(0, a.end - a.start, _CHUNK)
    return all(_piece(left, a, done) == _piece(right, b, done) for done in pieces)


def _piece(file: BinaryIO, tensor: StoredTensor, done: int) -> bytes:
    wanted = min(_CHUNK, tensor.end - tensor.start - done)
    file.seek(tensor.start + done)
    found = file.read(wanted)
    if len(found) < wanted:
        raise SafetensorsError("became shorter while it was read")
    return found
