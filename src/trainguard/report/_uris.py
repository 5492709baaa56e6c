"""Paths as the URIs of a SARIF file."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

ROOT = "%SRCROOT%"
"""The name of the working directory, to which the URIs are relative."""


def artifact(path: str) -> dict[str, str]:
    """Where a file is: relative to the working directory, or absolute if it lies elsewhere.

    The real path is taken only where the path as given leads out of the working directory: a
    file in a cache of links keeps the name that the user knows.
    """
    here = Path.cwd()
    full = os.path.normpath(here / path)
    relative = _below(full, str(here)) or _below(_real(full), os.path.realpath(here))
    if relative:
        return {"uri": _quoted(relative), "uriBaseId": ROOT}
    return {"uri": "file:///" + _quoted(Path(full).as_posix().lstrip("/"))}


def _below(path: str, folder: str) -> str:
    """The path as seen from the folder, `.` for the folder itself, empty if it is elsewhere."""
    try:
        return Path(path).relative_to(folder).as_posix()
    except ValueError:
        return ""


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a name that no file can have
        return path


def _quoted(path: str) -> str:
    """Bytes of a name that is no UTF-8 are kept; what no file name can hold is spelled out."""
    try:
        content = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        content = path.encode("utf-8", "backslashreplace")
    return quote(content)
