"""A data set: its splits, and what two of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trainguard.facts.notation import Line

#: Fewer different questions than this can all be in another split by chance.
FEWEST = 4
#: How a place is written: file and row, from 1.
Place = str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFacts:
    """One split: a file, or the shards that belong together."""

    WANTED: ClassVar[str] = "a data set (train, valid or test files)"

    name: str
    """Such as "train", "valid" or "rft_train"."""
    held_out: bool
    """Whether it is for evaluation, by its name or because the user says so."""
    path: str
    rows: int
    unreadable: int = 0
    """Rows that could not be parsed, or that are none."""
    empty: int = 0
    """Rows without a question, without an answer, or without a turn of the assistant."""
    first_empty: Place = ""
    repeated: int = 0
    """Rows whose question, answer and reasoning occurred before."""
    first_repeated: Place = ""
    conflicting: int = 0
    """Questions with more than one answer."""
    first_conflicting: Place = ""
    estimated: bool = False
    """Whether `repeated` and `conflicting` are extrapolated from a random share of all rows."""
    preferences: int = 0
    """Rows with a chosen and a rejected answer."""
    undecided: int = 0
    """How many of them have the same text for both."""
    first_undecided: Place = ""
    prompted: int = 0
    """Rows whose answer was looked for in the question: not of free choice, and with no context."""
    leaking: int = 0
    """How many of them hold it as words of their own."""
    leaking_by_chance: float = 0.0
    """How many would, if each question had the answer of another row."""
    first_leaking: Place = ""
    reasoned: int = 0
    """Rows with a reasoning and a numeric answer."""
    wrong: int = 0
    """How many of these end in another number, or in none."""
    first_wrong: Place = ""
    compared: int = 0
    """Reasonings that were compared with each other."""
    templates: int = 0
    """Different ones among them, once numbers and the words of the question are taken out."""
    largest_template: int = 0
    """Rows of the most frequent one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFacts:
    """A held-out split against another split."""

    WANTED: ClassVar[str] = "a held-out split and another one to compare it with"

    held_out: str
    other: str
    other_held_out: bool = False
    rows: int
    """Rows of the held-out split that were compared."""
    other_rows: int = 0
    distinct: int = 0
    """Different questions among the held-out rows."""
    equal: int = 0
    """Questions that occur in the other split, but for case, punctuation and blanks."""
    same_answer: int = 0
    """How many of them have the same answer as well."""
    contained: int = 0
    """Questions that stand as a whole in a longer text of the other split."""
    partial: int = 0
    """Questions of which at least eight words and a half do, with all numbers."""
    keyed: int = 0
    """Rows with numbers in the question and a numeric answer, without those of `equal` and
    `contained`."""
    keys: int = 0
    """How many of these have numbers and answer in common with a row of the other split."""
    expected_keys: float = 0.0
    """The share of `keyed` that would, if the rows were drawn alike and independently."""
    first: Place = ""
    """Where the first common question stands, in both."""
    first_partial: Place = ""
    identical_files: bool = False
    """Whether both are the same bytes."""

    @property
    def identical(self) -> bool:
        """Whether all of the held-out questions, and more than a handful, are in the other."""
        return self.distinct >= FEWEST and self.equal >= self.rows


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`split valid rows=100 held_out=true ...` and `pair valid train rows=100 equal=12 ...`."""
    splits, pairs = [], []
    for line in lines:
        if line.word == "split":
            defaults = {"held_out": False, "path": f"{line.words[1]}.json"}
            splits.append(SplitFacts(name=line.words[1], **{**defaults, **line.fields}))
        else:
            _, held_out, other = line.words
            pairs.append(PairFacts(held_out=held_out, other=other, **line.fields))
    return {SplitFacts: tuple(splits), PairFacts: tuple(pairs)}
