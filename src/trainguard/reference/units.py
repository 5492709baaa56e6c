"""Unit-conversion questions, and what counts as a right answer to one.

Every answer is a whole number with at most five digits: a factor from the table below times a
count, or a count again where the question converts in the other direction.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

RELATIVE_TOLERANCE = 0.05
LARGEST_FACTOR = 1000


@dataclass(frozen=True)
class Dimension:
    """Units of one kind, each with its size as a multiple of the smallest.

    Counts run from 1 to `largest_count`: far for powers of ten, which a tiny model can
    generalise, and not far for the factors that it has to learn by heart.
    """

    sizes: dict[str, int]
    largest_count: int


DIMENSIONS = {
    "length": Dimension({"mm": 1, "cm": 10, "m": 1000, "km": 1_000_000}, largest_count=50),
    "mass": Dimension(
        {"mg": 1, "gram": 1000, "kg": 1_000_000, "tonne": 1_000_000_000}, largest_count=50
    ),
    "volume": Dimension({"ml": 1, "cl": 10, "dl": 100, "liter": 1000}, largest_count=50),
    "time": Dimension({"second": 1, "minute": 60, "hour": 3600, "day": 86_400}, largest_count=12),
}

PHRASINGS = (
    "How many {target} are there per {value} {source}?",
    "How many {target} is {value} {source}?",
    "What is {value} {source} in {target}?",
    "Convert {value} {source} to {target}.",
    "Express {value} {source} in {target}.",
)

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Question:
    """A question in words and the number that answers it, in the unit it asks for."""

    text: str
    answer: float


@dataclass(frozen=True)
class Conversion:
    """The fact that `value` of the unit `source` are `result` of the unit `target`."""

    value: int
    source: str
    target: str
    result: int

    def phrase(self, phrasing: str) -> str:
        """The question about this fact in the words of `phrasing`, one of `PHRASINGS`."""
        return phrasing.format(value=self.value, source=self.source, target=self.target)


def conversions() -> list[Conversion]:
    """Every fact of the task, in a fixed order, each (value, source, target) once."""
    return [fact for dimension in DIMENSIONS.values() for fact in _conversions_in(dimension)]


def _conversions_in(dimension: Dimension) -> Iterator[Conversion]:
    for small, large in combinations(dimension.sizes, 2):
        factor = dimension.sizes[large] // dimension.sizes[small]
        if factor > LARGEST_FACTOR:
            continue
        for count in range(1, dimension.largest_count + 1):
            yield Conversion(count, large, small, count * factor)
            yield Conversion(count * factor, small, large, count)


def generate(count: int, seed: int) -> list[Question]:
    """Draw `count` questions, each about another conversion.

    The same `seed` gives the same questions, and a smaller `count` a prefix of them. Raises
    `ValueError` if the task has fewer than `count` conversions.
    """
    facts = conversions()
    if not 0 <= count <= len(facts):
        raise ValueError(f"count is {count}, but the task has {len(facts)} conversions")
    rng = random.Random(seed)
    rng.shuffle(facts)
    return [
        Question(fact.phrase(rng.choice(PHRASINGS)), float(fact.result)) for fact in facts[:count]
    ]


def splits(
    train: int, valid: int, test: int, seed: int
) -> tuple[list[Question], list[Question], list[Question]]:
    """Draw three lists of questions of the given sizes.

    They are disjoint in the conversion that is asked for, not only in its wording: all three are
    cut from one draw of `generate`. Raises `ValueError` if a size is negative or the sizes add up
    to more than the task has.
    """
    if min(train, valid, test) < 0:
        raise ValueError(f"split sizes {train}, {valid}, {test}: none may be negative")
    questions = generate(train + valid + test, seed)
    return questions[:train], questions[train : train + valid], questions[train + valid :]


def format_answer(answer: float) -> str:
    """The completion that states `answer`, such as `<answer>6000</answer>`.

    Raises `ValueError` for a number that is not finite.
    """
    if not math.isfinite(answer):
        raise ValueError(f"{answer} cannot be stated as an answer")
    return f"<answer>{int(answer) if answer == int(answer) else repr(float(answer))}</answer>"


def parse_answer(text: str) -> float:
    """The number that the last `<answer>` element of `text` states, NaN if it states none.

    The last one, since reasoning comes before the answer it leads to. The element must hold one
    plain number and nothing else: `6,000`, `6 kg` and `nan` are no numbers, and a default such
    as 0 would be counted as an answer that the model never gave.
    """
    elements = _ANSWER.findall(text)
    stated = elements[-1].strip() if elements else ""
    number = float(stated) if _NUMBER.fullmatch(stated) else math.nan
    return number if math.isfinite(number) else math.nan


def is_right(answer: float | None, expected: float) -> bool:
    """Whether `answer` lies within 5 % of `expected`; `None`, NaN and infinities never do."""
    if answer is None or not math.isfinite(answer) or not math.isfinite(expected):
        return False
    return abs(answer - expected) <= RELATIVE_TOLERANCE * abs(expected)
