"""Which files may be the log of a run, by their names alone; `logs` reads them."""

from __future__ import annotations

from pathlib import Path

TABLES = frozenset({".csv", ".jsonl"})
CONSOLES = frozenset({".log", ".out", ".err"})
#: What TensorBoard begins the names of its files with.
EVENTS = "events.out.tfevents."


def may_be_log(path: Path) -> bool:
    """Whether the name is that of a table, of console output or of an event file."""
    return path.suffix.lower() in TABLES | CONSOLES or path.name.startswith(EVENTS)
