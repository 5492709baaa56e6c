"""Opening an adapter's files safely, and naming what a file really is."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trainguard.gather.safetensors import SafetensorsError, StoredTensor, read_header


class UnreadableError(Exception):
    """A file that is not what it should be.

    The message continues the sentence that the file's name begins; `fix` is in the imperative.
    """

    def __init__(self, what: str, *, fix: str, line: int | None = None) -> None:
        super().__init__(what)
        self.fix = fix
        self.line = line


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for unbuffered reading.

    Nothing else is opened: a FIFO would block for ever, and a device may act on being opened.

    Raises:
        UnreadableError: it is missing, something else, or may not be read.
    """
    try:
        _demand_regular(path.stat())
        # Should a FIFO take the file's place now, O_NONBLOCK keeps it from blocking.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _O_BINARY)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _refusal(path, error) from None
    file = open(descriptor, "rb", buffering=0)  # noqa: PTH123, SIM115 - a descriptor; the caller closes
    try:
        _demand_regular(os.fstat(descriptor))
    except UnreadableError:
        file.close()
        raise
    return file


_O_BINARY = getattr(os, "O_BINARY", 0)


def size_of(file: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size


def _demand_regular(status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(status.st_mode), "something else")
    raise UnreadableError(
        f"is {kind}, not a regular file", fix="put the file itself there, or a link to it"
    )


def _refusal(path: Path, error: OSError | ValueError) -> UnreadableError:
    if not isinstance(error, FileNotFoundError):
        return failed(error)
    if path.is_symlink():
        return UnreadableError(
            "is a link to a file that does not exist", fix="download or copy the file again"
        )
    return UnreadableError("is missing", fix="save the adapter again with save_pretrained")


def failed(error: OSError | ValueError) -> UnreadableError:
    """The operating system would not let the file be read."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UnreadableError(f"cannot be read: {reason}", fix="make the file readable")


@dataclass(frozen=True, slots=True)
class _Kind:
    start: bytes
    what: str
    fix: str


_AGAIN = "save the adapter again with save_pretrained(..., safe_serialization=True)"
_KINDS = (
    _Kind(
        b"version https://git-lfs",
        "is a Git LFS pointer of {size} bytes, not the file it stands for",
        "run `git lfs pull`, or download the file again",
    ),
    _Kind(b"<!doctype html", "is an HTML page", "download the file again; the server sent a page"),
    _Kind(b"<html", "is an HTML page", "download the file again; the server sent a page"),
    _Kind(b"PK\x03\x04", "is a zip archive (such as torch.save writes)", _AGAIN),
    _Kind(b"\x80\x02", "is a pickle", _AGAIN),
    _Kind(b"\x80\x03", "is a pickle", _AGAIN),
    _Kind(b"\x80\x04", "is a pickle", _AGAIN),
    _Kind(b"\x80\x05", "is a pickle", _AGAIN),
    _Kind(b"GGUF", "is a GGUF file", "keep the adapter as PEFT saved it; GGUF is for llama.cpp"),
    _Kind(b"\x89HDF", "is an HDF5 file", _AGAIN),
    _Kind(b"\x1f\x8b", "is compressed with gzip", "decompress it"),
    _Kind(b"\xff\xfe", "is text in UTF-16", "save it as UTF-8"),
    _Kind(b"\xfe\xff", "is text in UTF-16", "save it as UTF-8"),
    _Kind(
        b"\0" * 16,
        "begins with zero bytes: its content never reached the disk",
        "copy or save it again; the disk was full or the writer was killed",
    ),
)


def misnamed(start: bytes, size: int) -> UnreadableError | None:
    """What a file is that is not what its name says, by its first bytes; None if unknown."""
    if not size:
        return UnreadableError("is empty", fix="copy or save it again")
    # Only text may stand behind blanks and in either case.
    text = start.lstrip().lower()
    for kind in _KINDS:
        if start.startswith(kind.start) or (kind.start[:1] == b"<" and text.startswith(kind.start)):
            return UnreadableError(kind.what.format(size=size), fix=kind.fix)
    return None


def header_of(file: BinaryIO) -> tuple[StoredTensor, ...]:
    """The header of a safetensors file; a file of another format is called by its name.

    Raises:
        SafetensorsError: the header breaks the format's rules.
        UnreadableError: the file is something else.
    """
    size = size_of(file)
    try:
        return read_header(file, size)
    except SafetensorsError:
        file.seek(0)
        better = misnamed(file.read(64), size)
        if better is None:
            raise
        raise better from None
