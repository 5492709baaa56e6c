"""Which files are splits of a data set, by name alone."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

DATA_SUFFIXES = frozenset(
    {".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".gz"}
)
_TRAIN = frozenset({"train", "training"})
_STAGES = frozenset({"sft", "rft"})
#: What a held-out split is for, by the word in its name.
_ROLES = {
    **dict.fromkeys(("valid", "validation", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "holdout", "heldout"), "test"),
    **dict.fromkeys(("eval", "evaluation"), "evaluation"),
}
_WORDS = re.compile(r"[a-z]+")
_FOLD = re.compile(r"(?:fold|cv|split|seed)[-_]?(\d+)")
_SHARD = re.compile(r"[-_.]?(?:\d{5,}([-_]of[-_]\d+)?|(part|shard|chunk)[-_]?\d+)$")
#: Files with these words in their names report on a run, or hold what a model said.
_REPORTS = frozenset(
    {
        *("results", "state", "args", "metrics", "log", "logs", "config", "report", "scores"),
        *("prediction", "predictions", "preds", "generations", "output", "outputs", "submission"),
    }
)
#: Folders of what a program is tested with.
_FIXTURES = frozenset({"tests", "fixtures", "testdata"})


def may_be_data(path: Path) -> bool:
    """Whether a name promises a split of a data set: a file, or a folder that `datasets` saved."""
    words = set(_WORDS.findall(_base(path)))
    if not words & {*_TRAIN, *_STAGES, *_ROLES} or words & _REPORTS:
        return False
    if path.parent.name in _FIXTURES:
        return False
    if path.is_dir():
        return (path / "state.json").is_file() and any(path.glob("*.arrow"))
    return path.suffix in DATA_SUFFIXES


def is_held_out(name: str) -> bool:
    """Whether a split of this name is for evaluation; `train_eval` is a part of the training set
    on which progress is measured.
    """
    words = _WORDS.findall(name.lower())
    if any(
        {one in _TRAIN, other in _TRAIN} == {True, False} and (one in _ROLES or other in _ROLES)
        for one, other in pairwise(words)
    ):
        return False
    return not _ROLES.keys().isdisjoint(words)


def are_comparable(name: str, other: str) -> bool:
    """Whether splits of these names must differ: no two of one role or of different folds.

    `test_en` and `test_de`, or `valid` and `valid_small`, may be the same rows on purpose; what is
    held out of one fold is trained on in the others.
    """
    folds = {match[1] for match in map(_FOLD.search, (name.lower(), other.lower())) if match}
    return len(folds) < 2 and not _roles(name) & _roles(other)


def _roles(name: str) -> set[str]:
    return {_ROLES[word] for word in _WORDS.findall(name.lower()) if word in _ROLES}


def split_name(path: Path) -> str:
    """What shards of one split have in common: `test-00000-of-00002.parquet` is `test`."""
    return _SHARD.sub("", _base(path))


def _base(path: Path) -> str:
    """The name without what says how the file is written."""
    while path.suffix in DATA_SUFFIXES:
        path = path.with_suffix("")
    return path.name.lower()
