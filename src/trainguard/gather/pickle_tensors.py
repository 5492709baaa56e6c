"""The tensors of a file that torch.save wrote, without torch and without unpickling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from trainguard.facts.adapter import TensorFacts
from trainguard.gather.pickle_layouts import Scan
from trainguard.gather.pickle_names import DTYPES, SIZES, STORAGES
from trainguard.gather.pickle_stream import PickleError
from trainguard.gather.pickle_values import Storage, Table, View
from trainguard.gather.safetensors import StoredTensor
from trainguard.gather.values import measured

_LARGEST = 2**63


class UnplainError(Exception):
    """The file may well load, but does not consist of plain tensors alone.

    The message continues the sentence that the file's name begins.
    """


def tensors_of(file: BinaryIO, found: Scan) -> Iterator[TensorFacts]:
    """The tensors that a scanned file names, in its order.

    Values are read where the elements of a tensor stand in the file one after the other.

    Raises:
        UnplainError: the file holds something else, too.
        PickleError: it names elements that it does not store.
        SafetensorsError: the file became shorter meanwhile.
        OSError: reading failed.
    """
    stored = stored_tensors(found)
    readable = [tensor for tensor, is_readable in stored if is_readable]
    values_of = dict(zip(readable, measured(file, readable), strict=True))
    for tensor, _ in stored:
        values = values_of.get(tensor)
        yield TensorFacts(
            name=tensor.name,
            dtype=tensor.dtype,
            shape=tensor.shape,
            **(dataclasses.asdict(values) if values else {}),
        )


def stored_tensors(found: Scan) -> list[tuple[StoredTensor, bool]]:
    """Where each tensor of a scanned file stands, and whether its values can be read there.

    Raises:
        UnplainError: the file holds something else, too.
        PickleError: it names elements that it does not store.
    """
    if not isinstance(found.value, Table):
        raise UnplainError("holds no table of tensors by their names")
    # A name that is put in twice has its last value.
    table = {_name(name): value for name, value in found.value.pairs}
    stored = [_stored(name, view, found) for name, view in table.items() if isinstance(view, View)]
    if len(stored) < len(table):
        raise UnplainError(f"holds {len(table) - len(stored)} things that are no plain tensors")
    return stored


def _name(name: Any) -> str:
    try:
        if isinstance(name, str) and name.encode():
            return name
    except UnicodeEncodeError:
        pass
    raise UnplainError("holds a tensor whose name is no text")


def _stored(name: str, view: View, found: Scan) -> tuple[StoredTensor, bool]:
    """Where a tensor stands, and whether its values can be read there."""
    storage = view.storage
    if not isinstance(storage, Storage):
        raise UnplainError(f"holds {name}, which is no plain tensor")
    dtype = DTYPES.get(view.dtype or "", STORAGES.get(storage.type, storage.type))
    shape, stride = _sizes(view.shape), _sizes(view.stride)
    if shape is None or stride is None or len(shape) != len(stride) or not _is_size(view.offset):
        raise PickleError(f"gives {name} a shape or a stride that no tensor has")
    item = SIZES.get(dtype)
    place = found.places.get(storage.key) if isinstance(storage.key, str) else None
    if item is None or place is None:
        return StoredTensor(name=name, dtype=dtype, shape=shape, start=0, end=0), False
    start = place[0] + view.offset * item
    if start + item * _extent(shape, stride) > place[1]:
        raise PickleError(f"gives {name} more elements than its storage has")
    readable = found.little_endian and storage.whole and _is_contiguous(shape, stride)
    end = start + item * math.prod(shape) if readable else start
    return StoredTensor(name=name, dtype=dtype, shape=shape, start=start, end=end), readable


def _is_size(value: Any) -> bool:
    # `True` is an int to Python but no size.
    return type(value) is int and 0 <= value < _LARGEST


def _sizes(value: Any) -> tuple[int, ...] | None:
    valid = isinstance(value, tuple) and len(value) <= 64 and all(map(_is_size, value))
    return tuple(value) if valid else None


def _extent(shape: Sequence[int], stride: Sequence[int]) -> int:
    """Elements of the storage from the tensor's first to its last."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def _is_contiguous(shape: Sequence[int], stride: Sequence[int]) -> bool:
    expected = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != expected:
            return 0 in shape
        expected *= size
    return True
