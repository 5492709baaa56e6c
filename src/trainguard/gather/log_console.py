"""What a training printed: dicts of numbers among progress bars and everything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TextIO

from trainguard.gather.log_entries import LogEntry, entry_of
from trainguard.gather.log_text import pieces

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: tqdm's bar as the Trainer draws it, without a description: " 17%|█▋   | 10/60 [00:01<00:05]".
_BAR = re.compile(r"\s*\d+%\|[^|]*\|\s*(?P<step>\d{1,12})/\d{1,12} \[[^\]]*\]\s*")
_DICT = re.compile(r"\{[^{}]*\}")
#: `'loss': 2.1`, `"loss": 2.1`, `'loss': '2.1'`, `'loss': nan`, `'loss': np.float64(2.1)`.
_ITEM = re.compile(
    r"""(?P<quote>['"])(?P<name>[^'"\\]{1,100})(?P=quote)\s*:\s*
    (?:[A-Za-z.]{1,20}[0-9]{0,3}\()?['"]?
    (?P<value>[-+]?(?:nan|inf(?:inity)?|\d[\d.]{0,30}(?:e[-+]?\d{1,4})?))
    ['"]?\)?\s*(?=[,}])""",
    re.VERBOSE | re.IGNORECASE,
)
_RANK = re.compile(r"\[(?:rank|default)?\s*(\d{1,5})\]\s*:?|\brank[ =:]?(\d{1,5})\b", re.IGNORECASE)

#: Characters before a dict in which a launcher or logger names the rank.
_PREFIX = 200


def console_entries(text: TextIO) -> Iterator[LogEntry]:
    """The entries of a console's output, in its order; only the first rank that speaks counts.

    A dict does not say its step. The bar that is drawn again after it does.
    """
    pending: LogEntry | None = None
    speaker: str | None = None
    for line, piece in pieces(text):
        plain = _ESCAPE.sub("", piece)
        if pending is not None and (bar := _BAR.fullmatch(plain)):
            pending = _at(pending, int(bar["step"]))
        for rank, entry in _entries(plain, line):
            speaker = rank if speaker is None else speaker
            if rank == speaker:
                if pending is not None:
                    yield pending
                pending = entry
    if pending is not None:
        yield pending


def _at(entry: LogEntry, step: int) -> LogEntry:
    """The training entry at this step, unless it has one; an evaluation has a bar of its own."""
    return replace(entry, step=step) if entry.is_training and entry.step is None else entry


def _entries(piece: str, line: int) -> Iterator[tuple[str, LogEntry]]:
    """Each entry with its rank; no rank is ""."""
    if "loss" not in piece:
        return
    for match in _DICT.finditer(piece):
        items = {item["name"]: item["value"] for item in _ITEM.finditer(match[0])}
        if (entry := entry_of(items, line)) is not None:
            rank = _RANK.search(piece, max(0, match.start() - _PREFIX), match.start())
            yield (rank[1] or rank[2] if rank else ""), entry
