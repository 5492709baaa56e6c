"""Whether a path that an index states stays inside the model's folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath


def escape_of(name: str, folder: Path) -> tuple[str, bool]:
    """How a stated path leaves the folder, and whether only by a link; ("", False) if it stays.

    Args:
        name: as the index spells it.
        folder: of the model; it is not opened, only links are followed.
    """
    if "\0" in name:
        return "holds a NUL character", False
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        return "is absolute", False
    if ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts:
        return "climbs out of the folder with '..'", False
    try:
        home, target = folder.resolve(), (folder / name).resolve()
    except (OSError, RuntimeError):
        return "", False  # a loop of links, which opening reports
    if target.is_relative_to(home) or _in_hub_cache(target, home):
        return "", False
    return f"is a link to {target}", True


def _in_hub_cache(target: Path, home: Path) -> bool:
    """The layout of the hub's cache: snapshots/REVISION/FILE is a link to blobs/DIGEST."""
    blobs = target.parent
    return blobs.name == "blobs" and home.is_relative_to(blobs.parent / "snapshots")
