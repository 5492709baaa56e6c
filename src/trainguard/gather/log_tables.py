"""Logs with one entry a line: JSONL and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import TextIO

from trainguard.gather.log_entries import LogEntry, entry_of, has_columns
from trainguard.gather.log_text import MAX_PIECE, pieces


def jsonl_entries(text: TextIO) -> Iterator[LogEntry]:
    """The entries of a JSONL file; a line that is no object, or no entry, is left out."""
    for line, piece in pieces(text):
        try:
            values = json.loads(piece)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict) and (entry := entry_of(values, line)) is not None:
            yield entry


def csv_entries(text: TextIO) -> Iterator[LogEntry]:
    """The entries of a CSV file, whose first row must name the columns of a training log."""
    rows = csv.reader(iter(lambda: text.readline(MAX_PIECE), ""))
    try:
        header = next(rows, [])
        if not has_columns(header):
            return
        for row in rows:
            values = dict(zip(header, row, strict=False))
            if (entry := entry_of(values, rows.line_num)) is not None:
                yield entry
    except csv.Error:  # a field of more than 128 KiB, which no log has
        return
