"""Which files are splits of a data set, by name alone."""

from __future__ import annotations

import re
from pathlib import Path

DATA_SUFFIXES = frozenset(
    {".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".gz"}
)
_TRAIN = frozenset({"train", "training", "sft", "rft"})
_HELD_OUT = frozenset(
    {"valid", "validation", "val", "dev", "eval", "evaluation", "test", "holdout", "heldout"}
)
_WORDS = re.compile(r"[a-z]+")
#: Files with these words in their names report on a run.
_REPORTS = frozenset({"results", "state", "args", "metrics", "log", "logs", "config", "report"})


def may_be_data(path: Path) -> bool:
    """Whether a name promises a split of a data set: a file, or a folder that `datasets` saved."""
    words = set(_words(path))
    if not words & (_TRAIN | _HELD_OUT) or words & _REPORTS:
        return False
    if path.is_dir():
        return (path / "state.json").is_file() and any(path.glob("*.arrow"))
    return path.suffix in DATA_SUFFIXES


def is_held_out(name: str) -> bool:
    """Whether a split of this name is for evaluation."""
    return bool(set(_WORDS.findall(name.lower())) & _HELD_OUT)


def split_name(path: Path) -> str:
    """What shards of one split have in common: `test-00000-of-00002.parquet` is `test`."""
    words = [word for word in _words(path) if word not in ("of", "part", "shard")]
    return "_".join(words)


def _words(path: Path) -> list[str]:
    return _WORDS.findall(path.name.lower().partition(".")[0])
