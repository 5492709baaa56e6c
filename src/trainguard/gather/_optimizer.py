"""Whether a saved optimizer holds any parameter, read without unpickling it.

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

from trainguard.gather.adapter_files import open_regular

LARGEST = 64 * 1024
"""Bytes. An optimizer without parameters takes 1 to 2 KB; a larger one has some."""


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
