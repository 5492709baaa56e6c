"""Which questions of a small set stand in a large one: exact, in one pass, in bounded memory.

The small side, the evaluation, is indexed; the large side is streamed past it in shards. A shard
is judged by a pure function, and what two shards give can be merged in any order, so that the same
code runs on one core or under an engine for clusters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple, Protocol

import numpy as np

from trainguard.gather.overlap_found import KeySample, Overlap, bounded
from trainguard.gather.overlap_texts import END, Key, keys_of, normal, number, words_of

#: Words in a window, at most: the length at which matches predict inflated scores best.
WINDOW = 8
#: Shorter questions are only compared whole; they stand in longer texts by chance.
SHORTEST = 4
#: A partial match covers this share of a question, and a whole window.
COVERAGE = 0.5
#: Windows that more questions share are boilerplate and find nothing by themselves.
SHARED = 8
_BASE = np.uint64(0x9E3779B97F4A7C15)
_UNKNOWN, _END = 0, -1

Ids = np.ndarray[Any, np.dtype[np.int64]]
Hashes = np.ndarray[Any, np.dtype[np.uint64]]


class Asked(Protocol):
    """One row of a data set: what is asked and what is expected."""

    @property
    def question(self) -> str:
        """What is asked."""

    @property
    def answer(self) -> str | None:
        """What is expected; None if nothing is."""


class Row(NamedTuple):
    """The plainest row."""

    question: str
    answer: str | None = None


class Index:
    """The questions of the small side, ready to be met.

    Args:
        rows: in the order in which the results number them.
    """

    def __init__(self, rows: Iterable[Asked]) -> None:
        self.rows = list(rows)
        joined = normal(row.question for row in self.rows)
        words = joined.split()
        self._vocabulary = {word: n for n, word in enumerate(dict.fromkeys(words), start=1)}
        self._vocabulary[END] = _END
        self._texts = _split(self._ids(words))
        self._longest = max(map(len, self._texts), default=0)
        self._powers = _powers(max(self._longest, WINDOW) + 1)
        self._whole = self._first_of_each()
        self._windows = {size: self._windows_of(size) for size in self._sizes()}
        self._keys: dict[Key, list[int]] = {}
        for place, key in enumerate(keys_of(joined, (row.answer for row in self.rows))):
            if key is not None:
                self._keys.setdefault(key, []).append(place)
        self._is_number = np.array([False, *(word[0].isdigit() for word in self._vocabulary)])

    def _ids(self, words: Sequence[str]) -> Ids:
        return np.fromiter(
            map(self._vocabulary.get, words, repeat(_UNKNOWN)), np.int64, count=len(words)
        )

    def _first_of_each(self) -> dict[int, list[int]]:
        """By hash of the whole text, the questions that read so."""
        found: dict[int, list[int]] = {}
        for place, text in enumerate(self._texts):
            if len(text):
                found.setdefault(self._hash(text), []).append(place)
        return found

    def _hash(self, text: Ids) -> int:
        with np.errstate(over="ignore"):
            return int((text.astype(np.uint64) * self._powers[: len(text)]).sum())

    def _sizes(self) -> list[int]:
        lengths = {len(text) for text in self._texts}
        return sorted({min(length, WINDOW) for length in lengths if length >= SHORTEST})

    def _windows_of(self, size: int) -> _Windows:
        """The windows of the questions whose windows have this size; of twins those of one."""
        rows = [places[0] for places in self._whole.values()]
        mine = [row for row in rows if min(len(self._texts[row]), WINDOW) == size]
        hashes = [_rolling(self._texts[row], size) for row in mine]
        counts = [len(one) for one in hashes]
        return _Windows.of(
            np.concatenate(hashes),
            np.repeat(np.array(mine, np.int64), counts),
            np.concatenate([np.arange(count) for count in counts]),
        )

    def scan(self, shard: Sequence[Asked], first: int = 0) -> Overlap:
        """What a shard of the large side has of the questions.

        Args:
            shard: rows in order.
            first: number of the shard's first row among all rows of the large side.
        """
        if not shard:
            return Overlap()
        joined = normal(row.question for row in shard)
        stream = self._ids(joined.split())
        ends = np.flatnonzero(stream == _END)
        starts = np.concatenate(([0], ends[:-1] + 1))
        equal = self._equal(stream, starts, ends)
        contained, partial = self._pieces(stream, starts, ends, equal)
        keys, sample = self._keys_in(joined, shard)
        same = {small for small, big in equal.items() if _agree(self.rows[small], shard[big])}
        return Overlap(
            rows=len(shard),
            equal={small: first + big for small, big in equal.items()},
            contained={small: first + big for small, big in contained.items()},
            partial={small: (first + big, words) for small, (big, words) in partial.items()},
            keys={small: first + big for small, big in keys.items()},
            same_answer=frozenset(same),
            sample=sample,
        )

    def _equal(self, stream: Ids, starts: Ids, ends: Ids) -> dict[int, int]:
        lengths = ends - starts
        unknown = np.concatenate(([0], np.cumsum(stream == _UNKNOWN)))
        fits = (lengths > 0) & (lengths <= self._longest) & (unknown[ends] == unknown[starts])
        if not fits.any():
            return {}
        place = np.minimum(np.arange(len(stream)) - np.repeat(starts, lengths + 1), self._longest)
        with np.errstate(over="ignore"):
            terms = np.where(stream > 0, stream, 0).astype(np.uint64) * self._powers[place]
            sums = np.add.reduceat(terms, starts)
        found: dict[int, int] = {}
        for big in np.flatnonzero(fits).tolist():
            for small in self._whole.get(int(sums[big]), ()):
                if small not in found and np.array_equal(
                    stream[starts[big] : ends[big]], self._texts[small]
                ):
                    found[small] = big
        return found

    def _pieces(
        self, stream: Ids, starts: Ids, ends: Ids, equal: Mapping[int, int]
    ) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
        contained: dict[int, int] = {}
        partial: dict[int, tuple[int, int]] = {}
        seen: set[tuple[int, int, int]] = set()
        for at, small, offset in self._met(stream):
            big = int(np.searchsorted(ends, at))
            if small in equal or small in contained or (big, small, at - offset) in seen:
                continue
            seen.add((big, small, at - offset))
            text = self._texts[small]
            words = _run(stream[starts[big] : ends[big]], text, at - int(starts[big]), offset)
            if words == len(text):
                contained[small] = big
            elif words > partial.get(small, (0, 0))[1] and self._is_most(
                words, text, stream[starts[big] : ends[big]]
            ):
                partial[small] = (big, words)
        spread = {twin: big for small, big in contained.items() for twin in self._twins(small)}
        return spread, {
            twin: found
            for small, found in partial.items()
            if small not in contained
            for twin in self._twins(small)
        }

    def _twins(self, small: int) -> list[int]:
        """The questions that read the same."""
        return self._whole[self._hash(self._texts[small])]

    def _met(self, stream: Ids) -> Iterator[tuple[int, int, int]]:
        """Where in the stream a window of which question begins, in order of the stream."""
        found = []
        known = np.concatenate(([0], np.cumsum(stream <= 0)))
        for size, windows in self._windows.items():
            if len(stream) >= size:
                whole = np.flatnonzero(known[size:] == known[:-size])
                found.append(windows.met(_rolling(stream, size)[whole], whole))
        if found:
            at, small, offset = (np.concatenate(column) for column in zip(*found, strict=True))
            order = np.lexsort((offset, small, at))
            yield from zip(
                at[order].tolist(), small[order].tolist(), offset[order].tolist(), strict=True
            )

    def _is_most(self, words: int, text: Ids, row: Ids) -> bool:
        """Whether a piece is long enough, and every number of the question is in the row."""
        if words < max(WINDOW, COVERAGE * len(text)):
            return False
        wanted = Counter(text[self._is_number[text]].tolist())
        return not wanted - Counter(row[row > 0].tolist())

    def _keys_in(self, joined: str, shard: Sequence[Asked]) -> tuple[dict[int, int], KeySample]:
        if not self._keys:
            return {}, KeySample()
        found: dict[int, int] = {}
        counts: dict[int, int] = {}
        for big, key in enumerate(keys_of(joined, (row.answer for row in shard))):
            if key is not None:
                value = hash(key)  # of numbers, and so the same in every process
                counts[value] = counts.get(value, 0) + 1
                for small in self._keys.get(key, ()):
                    found.setdefault(small, big)
        return found, bounded(0, counts)

    @property
    def distinct(self) -> int:
        """Questions that read differently."""
        return len(self._whole)

    @cached_property
    def keyed(self) -> frozenset[int]:
        """The rows that have a key."""
        return frozenset(row for rows in self._keys.values() for row in rows)


def _agree(small: Asked, big: Asked) -> bool:
    if small.answer is None or big.answer is None:
        return False
    if number(small.answer) is not None:
        return number(small.answer) == number(big.answer)
    return words_of(small.answer) == words_of(big.answer)


@dataclass(frozen=True, eq=False)
class _Windows:
    """Hashes of windows, and for each the questions that it stands in, with the offset."""

    hashes: Hashes
    """Each once, in order."""
    starts: Ids
    """Where the places of each begin; one more for the end of the last."""
    rows: Ids
    offsets: Ids

    @classmethod
    def of(cls, hashes: Hashes, rows: Ids, offsets: Ids) -> _Windows:
        """Windows that few questions share, and the rarest of a question that has no such one."""
        order = np.argsort(hashes, kind="stable")
        hashes, rows, offsets = hashes[order], rows[order], offsets[order]
        _, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        shared_by = counts[group]
        kept = shared_by <= SHARED
        boilerplate = ~np.isin(rows, rows[kept])
        if boilerplate.any():
            rarest = np.lexsort((shared_by, rows))
            rarest = rarest[boilerplate[rarest]]
            _, first = np.unique(rows[rarest], return_index=True)
            kept[rarest[first]] = True
        distinct, starts = np.unique(hashes[kept], return_index=True)
        ends = np.append(starts, kept.sum())
        return cls(distinct, ends, rows[kept], offsets[kept])

    def met(self, values: Hashes, at: Ids) -> tuple[Ids, Ids, Ids]:
        """The places that were met, the question and the offset in it of each.

        Args:
            values: hashes of windows.
            at: where each stands.
        """
        place = np.minimum(np.searchsorted(self.hashes, values), len(self.hashes) - 1)
        hit = np.flatnonzero(self.hashes[place] == values)
        first, count = self.starts[place[hit]], np.diff(self.starts)[place[hit]]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        entry = np.repeat(first, count) + within
        return np.repeat(at[hit], count), self.rows[entry], self.offsets[entry]


def _split(stream: Ids) -> list[Ids]:
    """The texts of a stream, without their ends."""
    return [text[:-1] for text in np.split(stream, np.flatnonzero(stream == _END)[:-1] + 1)]


def _powers(count: int) -> Hashes:
    with np.errstate(over="ignore"):
        steps = np.concatenate((np.ones(1, np.uint64), np.full(count, _BASE, np.uint64)))
        return np.cumprod(steps, dtype=np.uint64)


def _rolling(ids: Ids, size: int) -> Hashes:
    """The hash of every window of so many ids."""
    values = ids.astype(np.uint64)
    windows = len(ids) - size + 1
    hashes = np.zeros(max(windows, 0), np.uint64)
    with np.errstate(over="ignore"):
        for step in range(size):
            hashes *= _BASE
            hashes += values[step : step + len(hashes)]
    return hashes


def _run(row: Ids, text: Ids, at: int, offset: int) -> int:
    """Words that agree without a gap around a place in a row and in a question."""
    before = min(at, offset)
    left = row[at - before : at][::-1] != text[offset - before : offset][::-1]
    after = min(len(row) - at, len(text) - offset)
    right = row[at : at + after] != text[offset : offset + after]
    lead = int(left.argmax()) if left.any() else before
    follow = int(right.argmax()) if right.any() else after
    return lead + follow
