"""Data sets on disk: every format read, every fault named, healthy sets of every shape silent."""

from __future__ import annotations

import csv
import gzip
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from trainguard.facts.data import PairFacts, SplitFacts
from trainguard.facts.failure import Failure
from trainguard.findings import Report, Severity
from trainguard.gather.data import data_evidence
from trainguard.gather.data_counts import Repeats, concluded
from trainguard.gather.data_names import is_held_out, may_be_data, split_name
from trainguard.gather.data_rows import DataRow, data_row, read_rows
from trainguard.integrations.files import check
from trainguard.reference.units import splits

TRAIN, VALID, TEST = splits(700, 150, 150, seed=0)
SPLITS = {"train": TRAIN, "valid": VALID, "test": TEST}
RNG = random.Random(0)


def dump(path: Path, rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def records(questions: Any) -> list[dict[str, Any]]:
    return [{"question": one.text, "answer": one.answer} for one in questions]


def as_json(folder: Path) -> None:
    for name, questions in SPLITS.items():
        dump(folder / f"{name}.json", [[one.text, one.answer] for one in questions])


def as_object(folder: Path) -> None:
    for name, questions in SPLITS.items():
        dump(folder / f"{name}.json", {"version": 1, "data": records(questions)})


def as_lines(folder: Path) -> None:
    for name, questions in SPLITS.items():
        lines = "\n".join(map(json.dumps, records(questions)))
        (folder / f"{name}.jsonl").write_text(f"﻿{lines}\n\n", encoding="utf-8")


def as_gzip(folder: Path) -> None:
    for name, questions in SPLITS.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.write("\n".join(map(json.dumps, records(questions))))


def as_csv(folder: Path) -> None:
    for name, questions in SPLITS.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "question", "answer"])
            writer.writeheader()
            writer.writerows({"id": n, **row} for n, row in enumerate(records(questions)))


def as_shards(folder: Path) -> None:
    for name, questions in SPLITS.items():
        half = len(questions) // 2
        for n, part in enumerate((questions[:half], questions[half:])):
            Dataset.from_list(records(part)).to_parquet(folder / f"{name}-0000{n}-of-00002.parquet")


def as_datasets(folder: Path) -> None:
    sets = {name: Dataset.from_list(records(questions)) for name, questions in SPLITS.items()}
    DatasetDict(sets).save_to_disk(folder / "saved")


FORMATS = [as_json, as_object, as_lines, as_gzip, as_csv, as_shards, as_datasets]


def of(folder: Path) -> Report:
    return check(folder, chosen=["TG7"])


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_is_read_and_a_healthy_set_is_silent(write: Any, tmp_path: Path) -> None:
    write(tmp_path)

    report = of(tmp_path)

    assert [one.message for one in report.findings] == []
    assert [one.kind for one in report.subjects] == ["data set"]
    assert {f"TG7{n:02}" for n in range(1, 12)} <= set(report.checked)


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_rows_are_the_same_in_every_format(write: Any, tmp_path: Path) -> None:
    write(tmp_path)
    names = sorted(path for path in tmp_path.rglob("*") if may_be_data(path))
    valid = [path for path in names if split_name(path).startswith("valid")]

    rows = [row for path in valid for row in read_rows(path)]

    assert [row and (row.question, float(row.answer or "nan")) for row in rows] == [
        (one.text, one.answer) for one in VALID
    ]


def planted(folder: Path, **rows: Any) -> Report:
    for name, questions in {**SPLITS, **rows}.items():
        dump(folder / f"{name}.json", questions if name in rows else records(questions))
    return of(folder)


def copied(_: Path) -> dict[str, Any]:
    return {"test": records(VALID)}


def repeated(_: Path) -> dict[str, Any]:
    return {"valid": records([*VALID, *VALID[:3]])}


def leaked(_: Path) -> dict[str, Any]:
    return {"train": records([*TRAIN, *VALID[:20]])}


def leaked_in_a_template(_: Path) -> dict[str, Any]:
    wrapped = [{"question": f"Hello. {one.text} Be brief.", "answer": "?"} for one in VALID[:9]]
    return {"train": [*records(TRAIN), *wrapped]}


def touched_up(_: Path) -> dict[str, Any]:
    long = [
        f"On day {i} the {i + 3} wagons of train number {i * 7} carry {i * 11} tonnes of coal "
        f"to the port of town {i * 13} in the far north"
        for i in range(40)
    ]
    asked = [{"question": text, "answer": "yes"} for text in long]
    changed = [
        {"question": text.replace("to the port", "by road to"), "answer": "yes"} for text in long
    ]
    return {"valid": asked, "train": [*records(TRAIN), *changed]}


def reworded(_: Path) -> dict[str, Any]:
    rows = [(i, i * 1013) for i in range(1000, 1400)]
    return {
        "valid": [{"question": f"What is {a} times 1013?", "answer": b} for a, b in rows[:100]],
        "train": [{"question": f"Multiply 1013 by {a}.", "answer": b} for a, b in rows],
    }


def emptied(_: Path) -> dict[str, Any]:
    return {"train": [*records(TRAIN), {"question": "Why?", "answer": ""}, {"answer": "b"}, 7]}


def contradicting(_: Path) -> dict[str, Any]:
    other = [{"question": one.text, "answer": one.answer + 1} for one in TRAIN[:40]]
    return {"train": [*records(TRAIN), *other]}


def answered_in_the_question(_: Path) -> dict[str, Any]:
    rows = [{"question": f"{one.text} ({one.answer:g})", "answer": one.answer} for one in VALID]
    return {"valid": rows}


def reasonings(wrong: bool = False, one: bool = False, seed: int = 1) -> list[dict[str, Any]]:
    words = ("so", "then", "thus", "hence", "therefore", "which", "gives", "makes", "first", "next")
    rng = random.Random(seed)
    rows = []
    for question in TRAIN[:200]:
        path = "it is" if one else " ".join(rng.sample(words, 4))
        answer = question.answer * (2 if wrong else 1)
        text = f"We convert: {path} <answer>{answer:g}</answer>"
        rows.append({"question": question.text, "answer": question.answer, "reasoning": text})
    return rows


def wrongly_reasoned(_: Path) -> dict[str, Any]:
    return {"rft": reasonings(wrong=True)}


def reasoned_by_template(_: Path) -> dict[str, Any]:
    return {"rft": reasonings(one=True)}


def undecided(_: Path) -> dict[str, Any]:
    pairs = [{"prompt": f"Question {i}", "chosen": "yes", "rejected": "yes"} for i in range(50)]
    return {"train": pairs}


FAULTS: dict[Callable[[Path], dict[str, Any]], tuple[str, Severity]] = {
    copied: ("TG701", Severity.ERROR),
    repeated: ("TG702", Severity.WARNING),
    leaked: ("TG703", Severity.ERROR),
    leaked_in_a_template: ("TG703", Severity.ERROR),
    touched_up: ("TG704", Severity.WARNING),
    reworded: ("TG705", Severity.WARNING),
    emptied: ("TG706", Severity.WARNING),
    contradicting: ("TG707", Severity.WARNING),
    answered_in_the_question: ("TG708", Severity.WARNING),
    wrongly_reasoned: ("TG709", Severity.ERROR),
    reasoned_by_template: ("TG710", Severity.WARNING),
    undecided: ("TG711", Severity.ERROR),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_has_one_finding(fault: Any, tmp_path: Path) -> None:
    report = planted(tmp_path, **fault(tmp_path))

    assert [(one.code, one.severity) for one in report.findings] == [FAULTS[fault]]


def chat(folder: Path) -> None:
    """System prompts, greetings that come again, several turns."""
    topics = [f"topic {i} of {RNG.randrange(10**6)}" for i in range(300)]

    def talk(topic: str) -> dict[str, Any]:
        turns = [
            {"role": "system", "content": "You are a helpful assistant. Answer in a few words."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello, how can I help?"},
            {"role": "user", "content": f"Tell me about {topic}, please."},
            {"role": "assistant", "content": f"{topic} is a thing of its own kind."},
        ]
        return {"messages": turns}

    dump(folder / "train.json", [talk(topic) for topic in topics[:250]])
    dump(folder / "eval.json", [talk(topic) for topic in topics[250:]])


def preferences(folder: Path) -> None:
    """Each prompt with several pairs."""
    rows = [
        {"prompt": f"Write line {i}", "chosen": f"good {i} {n}", "rejected": f"bad {i} {n}"}
        for i in range(100)
        for n in range(3)
    ]
    dump(folder / "train.json", rows)


def classes(folder: Path) -> None:
    words = ("fine", "dull", "long", "warm", "odd", "grey", "loud", "old", "new", "red")
    rows = [
        {"text": " ".join(RNG.choices(words, k=9)) + f" {i}", "label": RNG.randrange(2)}
        for i in range(600)
    ]
    dump(folder / "train.json", rows[:400])
    dump(folder / "test.json", rows[400:])


def worded_sums(folder: Path) -> None:
    """As GSM8K: templates with other numbers, a worked answer."""
    names = ("Ann", "Ben", "Cid", "Dora", "Eve", "Fay")

    def row(i: int) -> dict[str, str]:
        a, b = RNG.randrange(2, 999), RNG.randrange(2, 999)
        name = names[i % 6]
        return {
            "question": f"{name} has {a} apples and buys {b} more. How many has {name} now?",
            "answer": f"{name} has {a} + {b} = {a + b} apples.\n#### {a + b}",
        }

    dump(folder / "train.json", [row(i) for i in range(600)])
    dump(folder / "test.json", [row(i) for i in range(200)])


def instructions(folder: Path) -> None:
    """As Alpaca: one instruction with many inputs, which hold the answer."""
    rows = [
        {
            "instruction": "Find the number in the text.",
            "input": f"There are {i} of them.",
            "output": i,
        }
        for i in range(400)
    ]
    dump(folder / "train.json", rows[:300])
    dump(folder / "validation.json", rows[300:])


def reasoning_paths(folder: Path) -> None:
    """RFT: the questions of the training set again, each with several distinct reasonings."""
    as_json(folder)
    dump(folder / "rft_train.json", [*reasonings(), *reasonings(seed=2)])


def multiple_choice(folder: Path) -> None:
    rows = [
        {"question": f"Which is {i}? A) {i} B) {i + 1}", "choices": ["A", "B"], "answer": "A"}
        for i in range(200)
    ]
    dump(folder / "test.json", rows)


def plain_text(folder: Path) -> None:
    rows = [{"text": f"Chapter {i}. " + " ".join(map(str, range(i, i + 40)))} for i in range(100)]
    dump(folder / "train.json", rows)


def running_text(folder: Path) -> None:
    """As WikiText: a row a line, with blank lines and headings that come again."""
    rows = []
    for i in range(300):
        body = " ".join(f"w{RNG.randrange(10**6)}" for _ in range(30))
        rows += [{"text": ""}, {"text": " = Early life = "}, {"text": f"In year {i} {body}."}]
    dump(folder / "train.json", rows[:600])
    dump(folder / "validation.json", rows[600:])


def folds(folder: Path) -> None:
    """What one fold holds out the others train on."""
    parts = [records(TRAIN[start : start + 200]) for start in (0, 200, 400)]
    for n in range(3):
        rest = [row for other, part in enumerate(parts) if other != n for row in part]
        dump(folder / f"train_fold{n}.json", rest)
        dump(folder / f"test_fold{n}.json", parts[n])


def ratings(folder: Path) -> None:
    """As KTO: a prompt with good and bad answers."""
    rows = [
        {"prompt": f"Is {i} prime?", "completion": word, "label": word == "no"}
        for i in range(0, 400, 2)
        for word in ("yes", "no")
    ]
    dump(folder / "train.json", rows)


def parts_of_the_training_set(folder: Path) -> None:
    """Progress is measured on a part of the training rows, and says so by its name."""
    as_json(folder)
    dump(folder / "train_eval.json", records(TRAIN[:100]))
    dump(folder / "valid_small.json", records(VALID[:20]))


HEALTHY = [
    *(running_text, folds, ratings, parts_of_the_training_set),
    *(chat, preferences, classes, worded_sums, instructions, reasoning_paths),
    *(multiple_choice, plain_text),
]


@pytest.mark.parametrize("write", HEALTHY, ids=lambda write: write.__name__)
def test_a_healthy_set_of_another_shape_is_silent(write: Any, tmp_path: Path) -> None:
    write(tmp_path)

    report = of(tmp_path)

    assert [one.message for one in report.findings] == []
    assert len(report.subjects) == 1


def test_held_out_files_can_be_named(tmp_path: Path) -> None:
    dump(tmp_path / "data" / "train.json", records([*TRAIN, *VALID[:20]]))
    dump(tmp_path / "elsewhere" / "questions.json", records(VALID))

    alone = check(tmp_path / "data")
    against = check(tmp_path / "data", against=[tmp_path / "elsewhere" / "questions.json"])

    assert not alone.findings
    assert "--against" in next(e.reason for e in alone.not_checked if e.code == "TG703")
    assert [one.code for one in against.findings] == ["TG703"]
    assert "20 of 150 questions of questions stand in train" in against.findings[0].message
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "data", against=[tmp_path / "missing.json"])


def test_one_named_file_is_a_data_set(tmp_path: Path) -> None:
    dump(tmp_path / "whatever.json", records([*VALID, *VALID]))

    report = check(tmp_path / "whatever.json")

    assert [one.kind for one in report.subjects] == ["data set"]
    assert [one.code for one in report.findings] == ["TG702"]


OTHER_FILES: dict[str, Any] = {
    "trainer_state.json": {"log_history": [{"loss": 1.0, "step": 1}]},
    "train_results.json": {"train_loss": 1.0},
    "eval_results.json": {"eval_loss": 1.0},
    "training_args.json": {"output_dir": "x"},
    "test_config.json": [{"question": "a", "answer": "b"}],
    "package.json": {"name": "x", "files": ["a"]},
    "tokenizer.json": {"model": {"vocab": {}}},
    "train.json": {"epochs": 3},
    "test.json": [1, 2, 3],
    "dev.json": [{"id": 1, "embedding": [0.1, 0.2]}],
}


@pytest.mark.parametrize("name", sorted(OTHER_FILES))
def test_other_files_are_no_data_sets(name: str, tmp_path: Path) -> None:
    dump(tmp_path / name, OTHER_FILES[name])

    assert "data set" not in [one.kind for one in check(tmp_path).subjects]


def test_a_broken_file_is_a_failure_and_the_others_are_judged(tmp_path: Path) -> None:
    as_json(tmp_path)
    (tmp_path / "test.json").write_text('[["What is 1 m in cm?", 100.0], ["What')

    report = of(tmp_path)

    assert [one.code for one in report.findings] == ["TG000"]
    assert "the array does not end" in report.findings[0].message
    assert "TG703" in report.checked


def test_rows_that_are_no_json_are_counted(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in records(TRAIN[:50])]
    (tmp_path / "train.jsonl").write_text("\n".join([*lines, "{broken", "[]", *lines[:0]]))

    report = of(tmp_path)

    assert [one.code for one in report.findings] == ["TG706"]
    assert "2 of 52 rows" in report.findings[0].message


def test_without_pyarrow_a_parquet_file_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_shards(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    report = of(tmp_path)

    assert {one.code for one in report.findings} == {"TG000"}
    assert "pip install 'trainguard[data]'" in report.findings[0].message


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["a.json", "a.jsonl", "a.csv", "a.tsv", "a.jsonl.gz"]),
    st.one_of(
        st.binary(max_size=200),
        st.text('[]{}",:\n 01aeé\\', max_size=80).map(str.encode),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_any_bytes_give_rows_or_a_clear_refusal(name: str, data: bytes) -> None:
    with _temporary(name, gzip.compress(data) if name.endswith("gz") else data) as path:
        try:
            for row in read_rows(path):
                assert row is None or isinstance(row, DataRow)
        except (OSError, ValueError):
            return


class _temporary:  # noqa: N801 - reads as a function
    def __init__(self, name: str, data: bytes) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / name
        self._path.write_bytes(data)

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["question", "answer", "messages", "role", "content", "text", "prompt"]
                ),
                inner,
            )
        ),
    )
)
def test_any_record_is_a_row_or_none(raw: Any) -> None:
    row = data_row(raw)

    assert row is None or isinstance(row.question, str)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 2 + 3 = 5", 5),
        ("<answer>7</answer> or 8", 7),
        ("first <answer>1</answer> then <answer> 2,000 </answer>.", 2000),
        ("it is 12.\n#### 13", 13),
        (r"thus \boxed{-4}", -4),
        ("no number", None),
        ("<answer></answer> 9", None),
        ("1.5e3 m", 1500),
    ],
)
def test_a_reasoning_ends_in_its_last_answer(text: str, number: float | None) -> None:
    assert concluded(text) == number


def test_repeats_are_counted_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainguard.gather.data_counts.LARGEST_MEMORY", 500)
    repeats = Repeats()
    for n in range(8000):
        repeats.add(DataRow(f"question {n // 2}", str(n % 2 if n % 20 < 2 else 7)), n)

    facts = repeats.facts()

    assert facts["estimated"]
    assert facts["repeated"] == pytest.approx(3600, rel=0.25)
    assert facts["conflicting"] == pytest.approx(400, rel=0.5)


@pytest.mark.parametrize(
    ("name", "is_split", "held_out"),
    [
        ("train.json", True, False),
        ("valid.jsonl", True, True),
        ("test-00000-of-00001.parquet", True, True),
        ("my_dev_set.csv", True, True),
        ("rft.json", True, False),
        ("contest.json", False, False),
        ("latest.csv", False, False),
        ("evaluate.py", False, False),
        ("train.log", False, False),
    ],
)
def test_splits_are_told_by_whole_words(name: str, is_split: bool, held_out: bool) -> None:
    assert may_be_data(Path(name)) is is_split
    assert is_held_out(split_name(Path(name))) is held_out


def test_the_facts_say_where(tmp_path: Path) -> None:
    as_shards(tmp_path)
    Dataset.from_list(records(VALID[70:90])).to_parquet(tmp_path / "train-00001-of-00002.parquet")

    evidence = data_evidence(tmp_path, sorted(tmp_path.iterdir()))
    assert evidence is not None
    pairs = {(one.held_out, one.other): one for one in evidence.facts[PairFacts]}

    assert {one.name: one.rows for one in evidence.facts[SplitFacts]} == {
        "train": 370,
        "valid": 150,
        "test": 150,
    }
    assert pairs["valid", "train"].equal == 20
    assert pairs["valid", "train"].first == (
        "valid-00000-of-00002.parquet:71 and train-00001-of-00002.parquet:1"
    )
    assert not evidence.facts[Failure]


def test_long_rows_are_read_in_smaller_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainguard.gather.data.LARGEST_SHARD", 100)
    monkeypatch.setattr("trainguard.gather.data.LARGEST_KEPT", 1000)
    dump(tmp_path / "train.json", records([*TRAIN[:50], *VALID]))
    dump(tmp_path / "valid.json", records(VALID))

    evidence = data_evidence(tmp_path, sorted(tmp_path.iterdir()))
    assert evidence is not None
    (pair,) = evidence.facts[PairFacts]

    assert 10 < pair.rows < 50  # as many as fit, and these all compared
    assert pair.equal == pair.rows
    assert pair.first == "valid.json:1 and train.json:51"
