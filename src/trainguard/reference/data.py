"""The questions of a run as files: train, valid and test, disjoint and proven to be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainguard.findings import Report
from trainguard.integrations.files import check
from trainguard.reference.units import Question, splits

SPLITS = ("train", "valid", "test")
Splits = dict[str, list[Question]]


class OtherDataError(ValueError):
    """A folder already holds other questions than those that were asked for."""


def datagen(
    folder: Path,
    *,
    train: int,
    valid: int,
    test: int,
    seed: int,
    changed: Callable[[Splits], Splits] = lambda drawn: drawn,
) -> Report:
    """Write `train.json`, `valid.json` and `test.json`, and check them against each other.

    Each file appears in one rename, and the same arguments give the same files: a run that was
    killed is started again. `changed` changes the splits before they are written. Raises
    `OtherDataError` rather than replace other questions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = dict(zip(SPLITS, splits(train, valid, test, seed), strict=True))
    for name, questions in changed(drawn).items():
        path = folder / f"{name}.json"
        if path.exists() and read_questions(path) != questions:
            raise OtherDataError(f"{path} holds other questions; delete it or use another folder")
        write_questions(path, questions)
    return check(folder)


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    """Write rows of `question`, `answer` and, where it is known, `reasoning`."""
    rows: list[dict[str, Any]] = []
    for question in questions:
        row: dict[str, Any] = {"question": question.text, "answer": question.answer}
        rows.append(row | ({"reasoning": question.reasoning} if question.reasoning else {}))
    write_json(path, rows)


def read_questions(path: Path) -> list[Question]:
    """Read what `write_questions` has written.

    Raises `ValueError` if the file is no JSON list of such rows.
    """
    try:
        rows = json.loads(path.read_bytes())
        return [
            Question(str(row["question"]), float(row["answer"]), str(row.get("reasoning", "")))
            for row in rows
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no list of rows with question and answer: {error!r}"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON that is there as a whole or not at all, whenever the process is killed."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text that is there as a whole or not at all, whenever the process is killed."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
