"""A data set on disk: its splits counted, and the held-out ones compared with the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from trainguard.facts.data import PairFacts, SplitFacts
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.gather.data_counts import LARGEST_LOOK, Repeats, Texts
from trainguard.gather.data_names import are_comparable, is_held_out, split_name
from trainguard.gather.data_rows import DataRow, NoReaderError, read_rows
from trainguard.gather.overlap import Asked, Index, Row
from trainguard.gather.overlap_found import Overlap

KIND = "data set"
#: Rows of a shard, and characters: of either as many as come first.
SHARD = 20_000
LARGEST_SHARD = 4_000_000
#: Held-out rows and characters that are kept and compared; the first of a larger split.
LARGEST_HELD_OUT = 200_000
LARGEST_KEPT = 8_000_000
#: Stands for what is no row, so that the numbers of the others stay true.
NO_ROW = Row("")
#: Rows by which a file is recognised.
PEEK = 20


@dataclass(eq=False)
class _Split:
    name: str
    paths: list[Path]
    held_out: bool
    named: bool = False
    """Whether the user says that it is held out."""
    starts: list[int] = field(default_factory=list)
    """Number of the first row of each file, from 0."""
    facts: SplitFacts | None = None
    kept: list[Asked] = field(default_factory=list)

    def place(self, row: int) -> str:
        """File and row, from 1."""
        file = max(n for n, start in enumerate(self.starts) if start <= row)
        return f"{self.paths[file].name}:{row - self.starts[file] + 1}"


def data_evidence(
    folder: Path, files: Sequence[Path], against: Sequence[Path] = ()
) -> Evidence | None:
    """The facts of the files of one folder; None if none of them holds training text.

    Args:
        folder: the subject.
        files: files, or folders of `datasets`, that may be splits.
        against: files that are held out, whatever their names.

    Of each split one shard is in memory at a time, and of held-out splits the texts.
    """
    failures: list[Failure] = []
    splits = list(_splits(files, against, failures))
    if not splits and not failures:
        return None
    held_out = [split for split in splits if split.held_out]
    for split in held_out:
        _read(split, {}, failures)
    indexes = {id(split): Index(split.kept) for split in held_out}
    pairs = [
        _pair(one, other, indexes[id(one)].scan(other.kept), indexes[id(one)])
        for one, other in itertools.combinations(held_out, 2)
        if one.kept and other.kept and _must_differ(one, other)
    ]
    for split in splits:
        if not split.held_out:
            met = _read(split, {n: indexes[id(one)] for n, one in enumerate(held_out)}, failures)
            pairs += [
                _pair(one, split, met[n], indexes[id(one)])
                for n, one in enumerate(held_out)
                if one.kept and split.facts and _must_differ(one, split)
            ]
    facts: dict[type, Any] = {
        SplitFacts: tuple(split.facts for split in splits if split.facts is not None),
        PairFacts: tuple(pairs),
        Failure: tuple(failures),
    }
    if not facts[SplitFacts] and not failures:
        return None
    absent: dict[type, str] = {}
    if not pairs:
        del facts[PairFacts]
        absent[PairFacts] = "needs a held-out split beside another one, or --against FILE"
    return Evidence(subject=str(folder), kind=KIND, facts=facts, absent=absent)


def _splits(
    files: Sequence[Path], against: Sequence[Path], failures: list[Failure]
) -> Iterator[_Split]:
    """The splits that hold training text, by name; the shards of one together."""
    named = {path.resolve() for path in against}
    own = [path for path in files if path.resolve() not in named]
    by_name: dict[tuple[str, str], list[Path]] = {}
    for path in own:
        by_name.setdefault((split_name(path), path.suffix), []).append(path)
    found = [
        _Split(name, sorted(paths), is_held_out(name))
        for (name, _), paths in sorted(by_name.items())
    ]
    found += [_Split(path.stem, [path], held_out=True, named=True) for path in against]
    for split in found:
        if _is_training_text(split.paths[0], failures):
            yield split


def _must_differ(one: _Split, other: _Split) -> bool:
    return one.named or other.named or are_comparable(one.name, other.name)


def _is_training_text(path: Path, failures: list[Failure]) -> bool:
    try:
        rows = list(itertools.islice(read_rows(path), PEEK))
    except (OSError, ValueError, NoReaderError) as error:
        failures.append(_failure(path, error))
        return False
    return 2 * sum(row is not None for row in rows) >= len(rows) > 0


def _failure(path: Path, error: Exception) -> Failure:
    line = " ".join(str(error).split())
    known = line if isinstance(error, NoReaderError) else f"{type(error).__name__}: {line}"
    return Failure(f"reading {path}", known)


def _read(split: _Split, indexes: dict[int, Index], failures: list[Failure]) -> dict[int, Overlap]:
    """Count the rows of a split, keep them if it is held out, and scan them past the indexes."""
    counts = _Counts()
    met = dict.fromkeys(indexes, Overlap())
    kept = 0
    for first, shard in _shards(split, failures):
        for row in shard:
            counts.add(row)
        if not split.held_out:
            plain = [_compared(row) for row in shard]
            met = {n: met[n].merge(index.scan(plain, first)) for n, index in indexes.items()}
            continue
        for row in shard:
            kept += len(row.question) if row else 0
            if len(split.kept) < LARGEST_HELD_OUT and kept <= LARGEST_KEPT:
                split.kept.append(_compared(row))
    if counts.rows:
        split.facts = counts.facts(split)
    return met


def _compared(row: DataRow | None) -> Asked:
    """What is compared of a row: nothing of a heading or a blank line of running text."""
    return NO_ROW if row is None or row.is_line else row


def _shards(split: _Split, failures: list[Failure]) -> Iterator[tuple[int, list[DataRow | None]]]:
    """The rows of a split, so many at a time as fit, with the number of the first; None is none."""
    first, size = 0, 0
    shard: list[DataRow | None] = []
    for row in _rows(split, failures):
        shard.append(row)
        size += len(row.question) if row else 0
        if len(shard) == SHARD or size > LARGEST_SHARD:
            yield first, shard
            first, size, shard = first + len(shard), 0, []
    if shard:
        yield first, shard


def _rows(split: _Split, failures: list[Failure]) -> Iterator[DataRow | None]:
    seen = 0
    for path in split.paths:
        split.starts.append(seen)
        try:
            for row in read_rows(path):
                seen += 1
                yield row
        except (OSError, ValueError, NoReaderError) as error:
            failures.append(_failure(path, error))


class _Counts:
    """Everything that is counted of a split."""

    def __init__(self) -> None:
        self.rows = 0
        self._unreadable = 0
        self._empty = 0
        self._first: dict[str, int] = {}
        self._repeats = Repeats()
        self._texts = Texts()

    def add(self, row: DataRow | None) -> None:
        """Count one row."""
        number, self.rows = self.rows, self.rows + 1
        if row is None:
            self._unreadable += 1
        elif row.is_line:
            return
        elif row.is_empty:
            self._empty += 1
            self._first.setdefault("empty", number)
        else:
            self._repeats.add(row, number)
            if number < LARGEST_LOOK:
                self._texts.add(row, number)

    def facts(self, split: _Split) -> SplitFacts:
        """All counts under their names, with the place of the first row of each."""
        first = {**self._first, **self._repeats.first, **self._texts.first}
        shown = ("empty", "repeated", "conflicting", "undecided", "leaking", "wrong")
        fields: dict[str, Any] = {
            f"first_{what}": split.place(first[what]) for what in shown if what in first
        }
        fields |= {**self._repeats.facts(), **self._texts.facts()}
        return SplitFacts(
            name=split.name,
            held_out=split.held_out,
            path=str(split.paths[0]),
            rows=self.rows,
            unreadable=self._unreadable,
            empty=self._empty,
            **fields,
        )


def _pair(one: _Split, other: _Split, met: Overlap, index: Index) -> PairFacts:
    whole = {**met.equal, **met.contained}
    return PairFacts(
        held_out=one.name,
        other=other.name,
        other_held_out=other.held_out,
        rows=len(one.kept),
        other_rows=met.rows,
        distinct=index.distinct,
        equal=len(met.equal),
        same_answer=len(met.same_answer),
        contained=len(met.contained),
        partial=len(met.partial),
        keyed=len(index.keyed - whole.keys()),
        keys=len(met.keys.keys() - whole.keys()),
        expected_keys=met.sample.expected,
        first=_first(one, other, whole),
        first_partial=_first(one, other, {row: at for row, (at, _) in met.partial.items()}),
        identical_files=_are_identical(one.paths, other.paths),
    )


def _first(one: _Split, other: _Split, met: dict[int, int]) -> str:
    if not met:
        return ""
    row = min(met)
    return f"{one.place(row)} and {other.place(met[row])}"


def _are_identical(left: Sequence[Path], right: Sequence[Path]) -> bool:
    """Whether two splits are one file each, with the same bytes."""
    files = [*left, *right]
    if len(files) != 2 or any(not file.is_file() for file in files):
        return False
    if files[0].stat().st_size != files[1].stat().st_size:
        return False
    return _digest(files[0]) == _digest(files[1])


def _digest(path: Path) -> bytes:
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.digest()
