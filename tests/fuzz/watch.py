"""Whether judging does anything beyond reading the files that it is given."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

#: What may happen while files are judged; `open` is looked at more closely.
_HARMLESS = frozenset({"builtins.id", "os.listdir", "os.scandir", "os.walk"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class HangError(BaseException):
    """An input took too long. No Exception, so that no reader takes it for a damaged file."""


class Watch:
    """An audit hook that notes everything that is not on its list.

    CPython raises an audit event for each import, compilation, execution, process, socket and
    open file, and for each name that `pickle` looks up. Modules have to be imported before.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.seen: list[str] = []
        self._folder: str | None = None
        signal.signal(signal.SIGALRM, _raise_hang)
        sys.addaudithook(self._note)

    @contextmanager
    def over(self, folder: Path) -> Iterator[None]:
        """Watch what happens while one folder is judged.

        Raises:
            HangError: it took more seconds than the limit.
        """
        self.seen = []
        signal.setitimer(signal.ITIMER_REAL, self.limit)
        self._folder = os.path.realpath(folder)
        try:
            yield
        finally:
            self._folder = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None or event in _HARMLESS:
            return
        if event == "open" and self._is_reading(*arguments):
            return
        self.seen.append(f"{event} {arguments[:1]!r}"[:200])

    def _is_reading(self, path: Any, mode: str | None, flags: int) -> bool:
        """Whether the folder's own file, or a descriptor of one, is opened for reading."""
        inside = isinstance(path, int) or self._is_inside(os.fsdecode(path))
        return inside and not flags & _WRITES

    def _is_inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(f"{self._folder}{os.sep}")


def _raise_hang(number: int, frame: FrameType | None) -> None:
    raise HangError
