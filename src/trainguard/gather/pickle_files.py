"""The pickled files of a folder; most folders have none, and need none of the machinery."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from trainguard.facts.pickles import PickleFacts

_MOST_FILES: Final = 1000
_SUFFIXES: Final = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def scan_folder(folder: str | Path) -> tuple[PickleFacts, ...]:
    """The pickled files at the top of a folder, by name.

    Never raises on what the files hold, and executes nothing of it. Files that only have such a
    suffix but are no pickles are left out, unless their name is one that the trainers write.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_candidate(entry))
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return ()
    if not names:
        return ()
    from trainguard.gather.pickles import scan_file

    facts = (scan_file(Path(folder, name)) for name in names[:_MOST_FILES])
    return tuple(one for one in facts if one.layout or one.references or one.problem)


def _is_candidate(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(_SUFFIXES) and not entry.is_dir()
