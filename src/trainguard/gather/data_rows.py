"""Rows of data files: json, jsonl, csv, parquet and folders of `datasets`, streamed.

What is not a row of training text, or cannot be parsed, is counted and passed over.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

#: Characters of one row, and of a file that is one JSON object.
LARGEST_ROW = 16_000_000
LARGEST_OBJECT = 64_000_000
CHUNK = 1 << 20
BATCH = 1024

_QUESTIONS = ("question", "prompt", "instruction", "problem", "query", "input", "text")
_ANSWERS = (
    *("answer", "output", "response", "completion", "target", "solution", "expected", "label"),
    *("chosen", "labels"),
)
_REASONINGS = ("reasoning", "rationale", "cot", "chain_of_thought", "explanation")
_CONTEXTS = frozenset({"context", "passage", "document", "choices", "options", "article", "story"})
_TURNS = ("messages", "conversations", "conversation")
_ASSISTANTS = frozenset({"assistant", "gpt", "model", "bot", "chatgpt"})
_WRITERS = frozenset({"user", "human"})


class DataRow(NamedTuple):
    """One row, whatever its columns are called."""

    question: str
    answer: str | None = None
    """None where the row is one text without parts."""
    reasoning: str | None = None
    rejected: str | None = None
    """The worse answer of a preference pair."""
    has_context: bool = False
    """Whether the answer may stand in the question: a passage to read, choices to pick from."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to ask, or nothing to learn."""
        return not self.question.strip() or (self.answer is not None and not self.answer.strip())


class NoReaderError(Exception):
    """What is needed to read the file is not installed; the message says how to get it."""


def read_rows(path: Path) -> Iterator[DataRow | None]:
    """The rows of a file or of a folder of `datasets`; None for one that is no row.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not what its name says.
        NoReaderError: pyarrow is needed and not installed.
    """
    try:
        for raw in _raw_rows(path):
            yield data_row(raw)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"the compressed data is broken: {error}") from error


def _raw_rows(path: Path) -> Iterator[Any]:
    suffix = path.suffix if path.suffix != ".gz" else Path(path.stem).suffix
    if path.is_dir() or suffix in (".parquet", ".arrow"):
        yield from _arrow_rows(path)
        return
    with _opened(path) as file:
        if suffix in (".csv", ".tsv"):
            yield from _csv_rows(file, "\t" if suffix == ".tsv" else ",")
        elif suffix == ".json":
            yield from _json_rows(file)
        else:
            yield from _line_rows(file)


def _opened(path: Path) -> Any:
    """As text; what is no UTF-8 becomes a replacement character."""
    options = {"encoding": "utf-8-sig", "errors": "replace", "newline": ""}
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), **options)  # type: ignore[arg-type]
    return path.open(**options)  # type: ignore[call-overload]


def _line_rows(file: Any) -> Iterator[Any]:
    while line := file.readline(LARGEST_ROW):
        if line.strip():
            yield _parsed(line)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_rows(file: Any) -> Iterator[Any]:
    """An array, an object with one array in it, or lines of objects under the wrong name."""
    start = file.read(CHUNK)
    first = start.lstrip()[:1]
    if first == "[":
        yield from _array_rows(file, start.lstrip()[1:])
        return
    if first != "{":
        raise ValueError("neither an array nor an object")
    text = start + file.read(LARGEST_OBJECT)
    if len(text) > LARGEST_OBJECT:
        raise ValueError(f"one object of more than {LARGEST_OBJECT} characters")
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        yield from (_parsed(line) for line in text.splitlines() if line.strip())
        return
    lists = [value for value in whole.values() if isinstance(value, list)]
    if len(lists) == 1:
        yield from lists[0]


def _array_rows(file: Any, text: str) -> Iterator[Any]:
    """Elements of an array, one at a time, without ever holding the whole of it."""
    decoder, place = json.JSONDecoder(), 0
    while True:
        place = _skipped(text, place)
        if place < len(text) and text[place] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, place)
            is_whole = end < len(text)
        except (ValueError, RecursionError):
            value, end, is_whole = None, place, False
        if is_whole:
            yield value
            place = end
            continue
        more = file.read(CHUNK)
        if not more:
            raise ValueError("the array does not end")
        text, place = text[place:] + more, 0
        if len(text) > LARGEST_ROW:
            raise ValueError(f"a row of more than {LARGEST_ROW} characters, or broken JSON")


_BETWEEN = re.compile(r"[\s,]*")


def _skipped(text: str, place: int) -> int:
    found = _BETWEEN.match(text, place)
    return found.end() if found else place


def _csv_rows(file: Any, delimiter: str) -> Iterator[Any]:
    reader = csv.DictReader(file, delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None


def _arrow_rows(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import ipc, parquet
    except ImportError:
        raise NoReaderError("needs pyarrow: pip install 'trainguard[data]'") from None
    files = sorted(path.glob("*.arrow")) if path.is_dir() else [path]
    try:
        for file in files:
            if file.suffix == ".parquet":
                batches: Iterable[Any] = parquet.ParquetFile(file).iter_batches(BATCH)
            else:
                batches = ipc.open_stream(pyarrow.memory_map(str(file)))
            for batch in batches:
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error


def data_row(raw: Any) -> DataRow | None:
    """The row that a record is; None if it is no row of training text."""
    if isinstance(raw, list | tuple):
        return _of_list(raw)
    if not isinstance(raw, Mapping):
        return None
    turns = next((raw[name] for name in _TURNS if isinstance(raw.get(name), list)), None)
    if turns is not None:
        return _of_turns(turns)
    names = [name for name in _QUESTIONS if raw.get(name) is not None]
    if not names:
        return None
    question = _text(raw[names[0]])
    if names[0] == "instruction" and raw.get("input"):
        question = f"{question}\n{_text(raw['input'])}"
    answers = [name for name in _ANSWERS if name in raw and name != names[0]]
    if not answers and names[0] != "text":
        return None
    reasoning = next((raw[name] for name in _REASONINGS if raw.get(name)), None)
    return DataRow(
        question=question,
        answer=_text(raw[answers[0]]) if answers else None,
        reasoning=None if reasoning is None else _text(reasoning),
        rejected=_text(raw["rejected"]) if "rejected" in raw else None,
        has_context=bool(_CONTEXTS & raw.keys()) or (names[0] == "instruction" and "input" in raw),
    )


def _of_list(raw: list[Any] | tuple[Any, ...]) -> DataRow | None:
    """Question, answer and perhaps reasoning, by position."""
    if not 2 <= len(raw) <= 3 or not isinstance(raw[0], str):
        return None
    if any(isinstance(part, list | Mapping) for part in raw):
        return None
    reasoning = raw[2] if len(raw) == 3 and isinstance(raw[2], str) else None
    return DataRow(question=raw[0], answer=_text(raw[1]), reasoning=reasoning)


def _of_turns(turns: list[Any]) -> DataRow:
    """What the user says, and the assistant's last turn; an empty answer if there is none."""
    said = [_turn(turn) for turn in turns]
    asked = [text for role, text in said if role in _WRITERS]
    answers = [text for role, text in said if role in _ASSISTANTS]
    return DataRow(
        question="\n".join(asked), answer=answers[-1] if answers else "", has_context=len(asked) > 1
    )


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        return "", ""
    role = turn.get("role", turn.get("from", ""))
    return str(role), _text(turn.get("content", turn.get("value", "")))


def _text(value: Any) -> str:
    """A field as text; of a list of turns or of parts, what they say."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        parts = [one for one in value if isinstance(one, Mapping)]
        said = [_turn(part)[1] or _text(part.get("text")) for part in parts]
        return "\n".join(filter(None, said)) if parts else " ".join(map(str, value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
