"""A bound on what parsing JSON takes: a byte of text can become a hundred in memory."""

from __future__ import annotations

MOST_MARKS = 4_000_000
"""Brackets, braces and commas. The largest tokenizers have about two million of them, and what
this many can spell takes less than 512 MiB."""


def demand_few_values(content: bytes) -> None:
    """Raise ValueError if the text of a JSON file may spell more values than are worth reading."""
    marks = content.count(b"[") + content.count(b"{") + content.count(b",")
    if marks > MOST_MARKS:
        raise ValueError(
            f"it holds {marks} brackets and commas; more than {MOST_MARKS} are not read"
        )
