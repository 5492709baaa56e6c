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
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from trainguard.gather._json_bounds import demand_few_values

#: Characters of one row, and of a file that is one JSON object.
LARGEST_ROW = 16_000_000
LARGEST_OBJECT = 64_000_000
CHUNK = 1 << 20
#: Rows of a parquet file at a time: each may hold pictures.
BATCH = 64
#: Words of a text without parts below which it is a line of something, such as a heading.
SHORTEST_TEXT = 8

_QUESTIONS = ("question", "prompt", "instruction", "problem", "query", "input", "text")
_ANSWERS = (
    *("answer", "output", "response", "completion", "target", "solution", "expected", "label"),
    *("chosen", "labels"),
)
_CLASSES = frozenset({"label", "labels"})
_REASONINGS = ("reasoning", "rationale", "cot", "chain_of_thought")
#: What a question may be about, and is another question without.
_CONTEXTS = ("context", "passage", "document", "article", "story", "choices", "options")
_MEDIA = ("image", "images", "image_path", "audio", "video", "videos")
#: How good the answer of a row is: the same question comes with worse ones.
_RATINGS = frozenset({"label", "score", "reward", "rating", "correct", "is_correct"})
_TURNS = ("messages", "conversations", "conversation")
_ASSISTANTS = frozenset(
    {"assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard", "function_call"}
)
#: Everyone else in a chat asks.
_SILENT = frozenset({"", "system", "developer", "tool", "function", "observation", "ipython"})
_COLUMNS = frozenset(
    {*_QUESTIONS, *_ANSWERS, *_REASONINGS, *_CONTEXTS, *_MEDIA, *_RATINGS, *_TURNS, "rejected"}
)


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
    is_chat: bool = False
    """Whether the question is a turn of a chat, to which there are many good answers."""
    is_rated: bool = False
    """Whether the row says how good its answer is, and so it may be a bad one."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to ask, or nothing to learn."""
        return not self.question.strip() or (self.answer is not None and not self.answer.strip())

    @property
    def is_line(self) -> bool:
        """Whether this is a text too short to be one: a heading, or the blank line below it."""
        if self.answer is not None:
            return False
        return sum(any(map(str.isalnum, word)) for word in self.question.split()) < SHORTEST_TEXT


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
            yield from _line_rows(_lines(file))


def _opened(path: Path) -> Any:
    """As text; what is no UTF-8 becomes a replacement character."""
    options = {"encoding": "utf-8-sig", "errors": "replace", "newline": ""}
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), **options)  # type: ignore[arg-type]
    return path.open(**options)  # type: ignore[call-overload]


def _lines(file: Any) -> Iterator[str]:
    """Lines, of which none is longer than a row may be."""
    while line := file.readline(LARGEST_ROW):
        yield line


def _line_rows(lines: Iterable[str]) -> Iterator[Any]:
    return (_parsed(line) for line in lines if line.strip())


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
    if _has_lines(start):
        begun = io.StringIO(start + file.readline(LARGEST_ROW), newline="")
        yield from _line_rows(chain(_lines(begun), _lines(file)))
        return
    text = start + file.read(LARGEST_OBJECT)
    if len(text) > LARGEST_OBJECT:
        raise ValueError(f"one object of more than {LARGEST_OBJECT} characters")
    demand_few_values(text.encode("utf-8", "replace"))
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        yield from _line_rows(io.StringIO(text, newline=""))
        return
    lists = [value for value in whole.values() if isinstance(value, list)]
    if len(lists) == 1:
        yield from lists[0]


def _has_lines(start: str) -> bool:
    """Whether the first line that is not blank is an object and another line follows."""
    line, _, rest = start.lstrip().partition("\n")
    return bool(rest.strip()) and isinstance(_parsed(line), Mapping)


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
    # A setting of the whole process; the default refuses a row with a long article.
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_ROW))
    reader = csv.DictReader(_lines(file), delimiter=delimiter)
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
                table = parquet.ParquetFile(file)
                columns = _known(table.schema_arrow.names)
                batches: Iterable[Any] = table.iter_batches(BATCH, columns=columns)
            else:
                batches = ipc.open_stream(pyarrow.memory_map(str(file)))
            for batch in batches:
                yield from _batch_rows(batch)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error


def _batch_rows(batch: Any) -> Iterator[Any]:
    known = batch.select(_known(batch.schema.names))
    for start in range(0, known.num_rows, BATCH):
        yield from known.slice(start, BATCH).to_pylist()


def _known(names: Iterable[str]) -> list[str]:
    """The columns that a row is made of; others may be large and are not decoded."""
    return [name for name in names if name in _COLUMNS]


def data_row(raw: Any) -> DataRow | None:
    """The row that a record is; None if it is no row of training text."""
    if isinstance(raw, list | tuple):
        return _of_list(raw)
    if not isinstance(raw, Mapping):
        return None
    turns = next((raw[name] for name in _TURNS if isinstance(raw.get(name), list)), None)
    if turns is not None:
        return _of_turns(turns, raw)
    asked = next((name for name in _QUESTIONS if raw.get(name) is not None), None)
    if asked is None:
        return None
    answered = next((name for name in _ANSWERS if name in raw and name != asked), None)
    if answered is None and asked != "text":
        return None
    question = _text(raw[asked])
    about = _about(raw, asked, question)
    reasoning = next((raw[name] for name in _REASONINGS if raw.get(name)), None)
    if answered in _CLASSES:
        reasoning = None  # it gives reasons for a class, and need not end in its number
    return DataRow(
        question="\n".join([question, *about]),
        answer=None if answered is None else _text(raw[answered]),
        reasoning=None if reasoning is None else _text(reasoning),
        rejected=_text(raw["rejected"]) if "rejected" in raw else None,
        has_context=bool(about) or (asked == "instruction" and "input" in raw),
        is_chat=isinstance(raw[asked], list),
        is_rated=bool(_RATINGS & raw.keys() - {answered}),
    )


def _about(raw: Mapping[str, Any], asked: str, question: str) -> list[str]:
    """What else the question is about: input, passage, choices and pictures, these as a hash.

    A column that repeats the question is the whole prompt, rendered.
    """
    names = [name for name in ("input", "text", *_CONTEXTS) if name != asked]
    texts = [_text(raw[name]) for name in names if raw.get(name) is not None]
    pictures = [_hash(raw[name]) for name in _MEDIA if raw.get(name)]
    return [text for text in texts if text and question not in text] + pictures


def _hash(value: Any) -> str:
    return sha256(repr(value).encode()).hexdigest()


def _of_list(raw: list[Any] | tuple[Any, ...]) -> DataRow | None:
    """Question, answer and perhaps reasoning, by position."""
    if not 2 <= len(raw) <= 3 or not isinstance(raw[0], str):
        return None
    if any(isinstance(part, list | Mapping) for part in raw):
        return None
    reasoning = raw[2] if len(raw) == 3 and isinstance(raw[2], str) else None
    return DataRow(question=raw[0], answer=_text(raw[1]), reasoning=reasoning)


def _of_turns(turns: list[Any], raw: Mapping[str, Any]) -> DataRow | None:
    """What the user says, and the assistant's last turn; an empty answer if there is none."""
    said = [_turn(turn) for turn in turns]
    if not any(role for role, _ in said):
        return None
    asked = [text for role, text in said if role not in _ASSISTANTS | _SILENT]
    answers = [text for role, text in said if role in _ASSISTANTS]
    pictures = [_hash(raw[name]) for name in _MEDIA if raw.get(name)]
    return DataRow(
        question="\n".join([*asked, *pictures]),
        answer=answers[-1] if answers else "",
        has_context=len(asked) > 1,
        is_chat=True,
        is_rated=bool(_RATINGS & raw.keys()),
    )


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        return "", ""
    role = turn.get("role", turn.get("from", ""))
    said = _text(turn.get("content", turn.get("value", "")))
    return str(role).lower(), said or _text(turn.get("tool_calls"))


def _text(value: Any) -> str:
    """A field as text; of a list of turns or of parts, what they say."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        parts = [one for one in value if isinstance(one, Mapping)]
        said = [_turn(part)[1] or _text(part.get("text")) for part in parts]
        return "\n".join(filter(None, said)) or " ".join(map(str, value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
