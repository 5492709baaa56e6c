"""What an overlap has found, in parts that merge in any order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Keys that are counted for the expected rate; above it, a half of them is dropped at a time.
LARGEST_SAMPLE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySample:
    """How often keys occur on the large side, for the keys of a random share of all hashes."""

    level: int = 0
    """Kept are keys whose hash is divisible by 2**level."""
    counts: Mapping[int, int] = field(default_factory=dict)

    def merge(self, other: KeySample) -> KeySample:
        """The sample of both."""
        level = max(self.level, other.level)
        counts = dict(_kept(level, self.counts))
        for key, count in _kept(level, other.counts):
            counts[key] = counts.get(key, 0) + count
        return bounded(level, counts)

    @property
    def expected(self) -> float:
        """Chance that the key of one more row from the same source has been seen.

        One minus the share of rows whose key occurs once (Good, 1953): what is true of a row of
        the large side against the others is true of a row that was drawn like them.
        """
        rows = sum(self.counts.values())
        return 1 - sum(n == 1 for n in self.counts.values()) / rows if rows else 0.0


def bounded(level: int, counts: Mapping[int, int]) -> KeySample:
    """The sample at this level, or at the first one that is small enough."""
    kept = dict(_kept(level, counts))
    while len(kept) > LARGEST_SAMPLE:
        level += 1
        kept = dict(_kept(level, kept))
    return KeySample(level=level, counts=kept)


def _kept(level: int, counts: Mapping[int, int]) -> Iterable[tuple[int, int]]:
    others = (1 << level) - 1
    return [entry for entry in counts.items() if not entry[0] & others] if level else counts.items()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What some rows of the large side have of the small one.

    Each mapping goes from a row of the small side to the first row of the large side, both from 0.
    A row of the small side is in one of `equal`, `contained` and `partial` at most.
    """

    rows: int = 0
    """Rows of the large side that were read."""
    equal: Mapping[int, int] = field(default_factory=dict)
    """The same question, but for case, punctuation and blanks."""
    contained: Mapping[int, int] = field(default_factory=dict)
    """The whole question inside a longer text."""
    partial: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """At least a window and half of the question in one piece, and all of its numbers: the row,
    and the words in that piece."""
    keys: Mapping[int, int] = field(default_factory=dict)
    """The same numbers with the same numeric answer, in whatever words."""
    same_answer: frozenset[int] = frozenset()
    """Rows of `equal` whose answer is the same as well."""
    sample: KeySample = KeySample()

    def merge(self, other: Overlap) -> Overlap:
        """What both have together; the order does not matter."""
        equal = _first(self.equal, other.equal)
        contained = _first(self.contained, other.contained)
        contained = {row: at for row, at in contained.items() if row not in equal}
        partial = dict(self.partial)
        for row, (at, words) in other.partial.items():
            mine = partial.get(row, (at, 0))
            partial[row] = min(mine, (at, words), key=lambda one: (-one[1], one[0]))
        return Overlap(
            rows=self.rows + other.rows,
            equal=equal,
            contained=contained,
            partial={
                row: found
                for row, found in partial.items()
                if row not in equal and row not in contained
            },
            keys=_first(self.keys, other.keys),
            same_answer=self.same_answer | other.same_answer,
            sample=self.sample.merge(other.sample),
        )

    def to_json(self) -> str:
        """As text, to be kept by one worker and merged by another."""
        plain = {
            "rows": self.rows,
            "equal": sorted(self.equal.items()),
            "contained": sorted(self.contained.items()),
            "partial": sorted((row, *found) for row, found in self.partial.items()),
            "keys": sorted(self.keys.items()),
            "same_answer": sorted(self.same_answer),
            "level": self.sample.level,
            "counts": sorted(self.sample.counts.items()),
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Overlap:
        """What `to_json` wrote."""
        plain = json.loads(text)
        return cls(
            rows=plain["rows"],
            equal=dict(plain["equal"]),
            contained=dict(plain["contained"]),
            partial={row: (at, words) for row, at, words in plain["partial"]},
            keys=dict(plain["keys"]),
            same_answer=frozenset(plain["same_answer"]),
            sample=KeySample(level=plain["level"], counts=dict(plain["counts"])),
        )


def _first(left: Mapping[int, int], right: Mapping[int, int]) -> dict[int, int]:
    return {**left, **{row: min(at, left.get(row, at)) for row, at in right.items()}}
