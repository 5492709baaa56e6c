"""The overlap step in a real pipeline of datatrove, and without it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainguard.gather.overlap import Index, Row
from trainguard.integrations.datatrove import OverlapStep, merged, rank_and_row
from trainguard.reference.units import splits

TRAIN, VALID, _ = splits(800, 100, 0, seed=0)
HELD_OUT = [Row(one.text, f"{one.answer:g}") for one in VALID]
CORPUS = [*[Row(one.text, f"{one.answer:g}") for one in TRAIN], *HELD_OUT[:30]]


def document(row: Row) -> Any:
    return SimpleNamespace(text=row.question, metadata={"answer": row.answer})


def test_ranks_together_find_what_one_pass_finds(tmp_path: Path) -> None:
    step = OverlapStep(HELD_OUT, tmp_path)
    for rank in range(4):
        mine = [document(row) for row in CORPUS[rank::4]]
        assert list(step(iter(mine), rank, 4)) == mine

    found, whole = merged(tmp_path), Index(HELD_OUT).scan(CORPUS)

    assert found.rows == len(CORPUS)
    assert found.equal.keys() == whole.equal.keys() == set(range(30))
    assert found.keys.keys() == whole.keys.keys()
    assert found.sample == whole.sample
    rank, row = rank_and_row(found.equal[0])
    assert CORPUS[rank::4][row] == HELD_OUT[0]


def test_a_rank_that_was_killed_leaves_no_result(tmp_path: Path) -> None:
    documents = OverlapStep(HELD_OUT, tmp_path)(iter([document(HELD_OUT[0])]))
    next(documents)

    with pytest.raises(FileNotFoundError, match="no finished rank"):
        merged(tmp_path)


def test_datatroves_local_executor_runs_it(tmp_path: Path) -> None:
    local = pytest.importorskip("datatrove.executor.local", reason="datatrove is not installed")
    from datatrove.pipeline.readers import JsonlReader

    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(2):
        rows = CORPUS[number::2]
        lines = [json.dumps({"text": row.question, "answer": row.answer}) for row in rows]
        (corpus / f"{number}.jsonl").write_text("\n".join(lines))

    steps = [JsonlReader(str(corpus)), OverlapStep(HELD_OUT, tmp_path / "found")]
    local.LocalPipelineExecutor(steps, tasks=2, workers=1, logging_dir=str(tmp_path / "logs")).run()

    found = merged(tmp_path / "found")
    assert found.rows == len(CORPUS)
    assert found.equal.keys() == set(range(30))
