"""What a saved optimizer holds, read without unpickling it.

torch.save writes a zip archive; its `data.pkl` is a program for a small machine. Only the names of
its instructions are looked at, none is carried out: each parameter group states `params`, and an
empty list there is the instruction EMPTY_LIST without one after it that adds a member.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainguard.gather.adapter_files import UnreadableError, open_regular, size_of
from trainguard.gather.pickle_values import Table, View
from trainguard.gather.safetensors import SafetensorsError

LARGEST = 64 * 1024
"""Bytes. An optimizer without parameters takes 1 to 2 KB; a larger one has some."""
LARGEST_READ = 2**30
"""Bytes of a file up to which its values are read; a few tenths of a second."""


def is_empty(path: Path) -> bool | None:
    """Whether no parameter group holds a parameter; None if the file does not tell."""
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            return False
        groups = list(_groups(_program(content)))
    except Exception:  # the zip and pickle readers raise almost anything on foreign bytes
        return None
    return not any(groups) if groups else None


def nonfinite_state(path: Path) -> dict[str, int] | None:
    """NaN or infinite elements by tensor; None if the file is too large or does not tell."""
    from trainguard.gather.pickle_layouts import Scan, scan
    from trainguard.gather.pickle_stream import PickleError
    from trainguard.gather.pickle_tensors import UnplainError, tensors_of

    try:
        with open_regular(path) as file:
            size = size_of(file)
            if size > LARGEST_READ:
                return None
            found = Scan()
            scan(file, size, found)
            found.value = _flat_state(found.value)
            return {t.name: t.nonfinite for t in tensors_of(file, found) if t.nonfinite}
    except (OSError, PickleError, SafetensorsError, UnplainError, UnreadableError):
        return None


def _flat_state(saved: Any) -> Table:
    """The tensors of `{"state": {0: {"exp_avg": ...}}}` as `0.exp_avg`."""
    state = next((value for key, value in _pairs(saved) if key == "state"), None)
    return Table(
        [
            (f"{parameter}.{name}", value)
            for parameter, values in _pairs(state)
            for name, value in _pairs(values)
            if isinstance(value, View) and isinstance(parameter, int) and isinstance(name, str)
        ]
    )


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    return value.pairs if isinstance(value, Table) else []


def _program(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            # torch stores without compression; an entry that claims more than the file is a trap.
            stored = entry.compress_type == zipfile.ZIP_STORED and entry.file_size <= LARGEST
            if entry.filename.endswith("/data.pkl") and stored:
                return archive.read(entry)
    raise ValueError("no data.pkl")


def _groups(program: bytes) -> Iterator[bool]:
    """For each parameter group, whether its list of parameters has a member."""
    names = [
        (code.name, argument)
        for code, argument, _ in pickletools.genops(program)
        if "PUT" not in code.name and code.name != "MEMOIZE"
    ]
    for place, (_, key) in enumerate(names):
        if key == "params":
            value, *after = [name for name, _ in names[place + 1 : place + 4]]
            # Several members come after a MARK, a single one before an APPEND.
            yield value != "EMPTY_LIST" or "MARK" in after[:1] or "APPEND" in after
