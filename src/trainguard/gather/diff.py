"""Two adapters or checkpoints become a comparison: configs, tensors and their values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trainguard.facts.adapter import CONFIG_NAME, WEIGHTS_NAME
from trainguard.facts.comparison import Comparison, FieldDifference, TensorDifference
from trainguard.gather.adapter_config import read_config
from trainguard.gather.adapter_files import UnreadableError, open_regular
from trainguard.gather.base_model import headers, model_config, weight_files
from trainguard.gather.safetensors import SafetensorsError, StoredTensor

if TYPE_CHECKING:
    import numpy as np

_ELEMENTS = 128 * 1024
"""Elements that are held of each side at a time."""
#: How numpy calls the dtypes whose values it can subtract; BF16 is read as its bits.
_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "BOOL": "u1",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
}


UNREADABLE = (UnreadableError, SafetensorsError, OSError)
"""What `compare` raises for files that cannot be read."""


def compare(a: Path, b: Path) -> Comparison:
    """What the two folders differ in.

    Raises:
        UnreadableError: a folder has no readable safetensors weights or config.
        SafetensorsError: a file became shorter while it was read.
        OSError: reading failed.
    """
    fields = list(_fields(_config(a), _config(b)))
    with ExitStack() as files:
        left, right = _stored(a, files), _stored(b, files)
        verdicts = [_tensor(n, left.get(n), right.get(n)) for n in sorted(left.keys() | right)]
    tensors = [verdict for verdict in verdicts if verdict is not None]
    same = len(verdicts) - len(tensors)
    return Comparison(a=str(a), b=str(b), fields=fields, tensors=tensors, same=same)


def _config(folder: Path) -> Mapping[str, Any]:
    if not (folder / CONFIG_NAME).exists():
        return model_config(folder)
    try:
        return read_config(folder).values
    except UnreadableError as error:
        raise UnreadableError(f"{folder / CONFIG_NAME} {error}", fix=error.fix) from None


def _fields(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[FieldDifference]:
    for key in sorted(a.keys() | b.keys()):
        if key in a and key in b:
            if _spelled(a[key]) != _spelled(b[key]):
                yield FieldDifference(key=key, a=a[key], b=b[key])
        else:
            side = "a" if key in a else "b"
            yield FieldDifference(key=key, a=a.get(key), b=b.get(key), only_in=side)


def _spelled(value: Any) -> str:
    """One spelling for equal values; PEFT writes sets of names as lists in any order."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = sorted(set(value))
    return json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True)
class _Source:
    """A stored tensor and the open file that holds it."""

    file: BinaryIO
    tensor: StoredTensor

    def __str__(self) -> str:
        return f"{self.tensor.dtype} {'x'.join(map(str, self.tensor.shape)) or 'scalar'}"

    def read(self, start: int, stop: int) -> bytes:
        """Bytes from `start` to `stop` of the tensor."""
        self.file.seek(self.tensor.start + start)
        found = bytearray()
        while len(found) < stop - start:
            piece = self.file.read(stop - start - len(found))
            if not piece:
                raise SafetensorsError(f"{self.tensor.name} became shorter while it was read")
            found += piece
        return bytes(found)


def _stored(folder: Path, files: ExitStack) -> dict[str, _Source]:
    adapter = folder / WEIGHTS_NAME
    sources: dict[str, _Source] = {}
    try:
        for path in [adapter] if adapter.exists() else weight_files(folder):
            tensors = headers(path)
            file = files.enter_context(open_regular(path))
            sources |= {tensor.name: _Source(file, tensor) for tensor in tensors}
    except UnreadableError as error:
        raise UnreadableError(f"{folder}: {error}", fix=error.fix) from None
    return sources


def _tensor(name: str, a: _Source | None, b: _Source | None) -> TensorDifference | None:
    if a is None or b is None:
        return TensorDifference(name=name, a=str(a or ""), b=str(b or ""))
    if a.tensor.shape != b.tensor.shape:
        return TensorDifference(name=name, a=str(a), b=str(b))
    if str(a) == str(b) and _same_bytes(a, b):
        return None
    return TensorDifference(name=name, a=str(a), b=str(b), distance=_distance(a, b))


def _same_bytes(a: _Source, b: _Source) -> bool:
    size = a.tensor.end - a.tensor.start
    steps = range(0, size, 8 * _ELEMENTS)
    ends = [min(step + 8 * _ELEMENTS, size) for step in steps]
    return all(a.read(*span) == b.read(*span) for span in zip(steps, ends, strict=True))


def _distance(a: _Source, b: _Source) -> float | None:
    """See `TensorDifference.distance`."""
    if a.tensor.dtype not in _NUMPY or b.tensor.dtype not in _NUMPY:
        return None
    import numpy as np  # longer to import than most of what is compared

    squares = np.zeros(3)
    count = math.prod(a.tensor.shape)
    for start in range(0, count, _ELEMENTS):
        stop = min(start + _ELEMENTS, count)
        x, y = _values(a, start, stop), _values(b, start, stop)
        with np.errstate(invalid="ignore", over="ignore"):
            z = x - y
            squares += (x @ x, y @ y, z @ z)
    if not np.isfinite(squares).all():
        return math.nan
    larger = max(squares[0], squares[1])
    return math.sqrt(squares[2] / larger) if larger else 0.0


def _values(source: _Source, start: int, stop: int) -> np.ndarray[Any, np.dtype[Any]]:
    import numpy as np

    dtype = np.dtype(_NUMPY[source.tensor.dtype])
    found = np.frombuffer(source.read(start * dtype.itemsize, stop * dtype.itemsize), dtype)
    if source.tensor.dtype == "BF16":
        found = (found.astype("<u4") << 16).view("<f4")
    return found.astype(np.float64)
