"""Unit-conversion questions, how they are worked out, and what counts as a right answer.

A fact is one value in one unit and what it is in another. A fixed fifth of all facts is held out:
whatever the seed, questions to be trained on never ask for one of them, in no wording.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from zlib import crc32

RELATIVE_TOLERANCE = 0.05
HELD_OUT_SHARE = 0.2
SIGNIFICANT_DIGITS = 3

#: What is counted: small whole numbers, round ones, and decimals.
COUNTS = (
    *range(1, 21),
    *(25, 30, 40, 50, 60, 75, 100),
    *(0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.8),
    *(1.2, 1.5, 1.8, 2.2, 2.4, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 12.5),
)


@dataclass(frozen=True)
class Rule:
    """One `larger` unit is `factor` times the `smaller`, plus an `offset` between the zeros."""

    larger: str
    smaller: str
    factor: float
    offset: float = 0.0


@dataclass(frozen=True)
class Dimension:
    """Units of one kind: the rules between them, and how people talk about such amounts."""

    rules: tuple[Rule, ...]
    contexts: tuple[str, ...]


DIMENSIONS = {
    "length": Dimension(
        (
            Rule("km", "m", 1000),
            Rule("m", "cm", 100),
            Rule("m", "mm", 1000),
            Rule("cm", "mm", 10),
            Rule("mile", "km", 1.609),
            Rule("foot", "inch", 12),
            Rule("inch", "cm", 2.54),
            Rule("yard", "foot", 3),
        ),
        ("A rope is {value} {source} long. What is its length in {target}?",),
    ),
    "mass": Dimension(
        (
            Rule("tonne", "kg", 1000),
            Rule("kg", "gram", 1000),
            Rule("gram", "mg", 1000),
            Rule("kg", "pound", 2.205),
            Rule("pound", "ounce", 16),
        ),
        ("A parcel weighs {value} {source}. What does it weigh in {target}?",),
    ),
    "time": Dimension(
        (
            Rule("week", "day", 7),
            Rule("day", "hour", 24),
            Rule("hour", "minute", 60),
            Rule("minute", "second", 60),
            Rule("hour", "second", 3600),
        ),
        ("The trip took {value} {source}. How many {target} did it take?",),
    ),
    "volume": Dimension(
        (
            Rule("liter", "ml", 1000),
            Rule("liter", "cl", 100),
            Rule("liter", "dl", 10),
            Rule("cl", "ml", 10),
            Rule("gallon", "liter", 3.785),
        ),
        ("A bottle holds {value} {source}. How many {target} fit into it?",),
    ),
    "area": Dimension(
        (
            Rule("km2", "hectare", 100),
            Rule("hectare", "m2", 10_000),
            Rule("m2", "cm2", 10_000),
        ),
        ("A field covers {value} {source}. What is its area in {target}?",),
    ),
    "speed": Dimension(
        (
            Rule("m/s", "km/h", 3.6),
            Rule("mph", "km/h", 1.609),
            Rule("knot", "km/h", 1.852),
        ),
        ("The boat moves at {value} {source}. What is its speed in {target}?",),
    ),
    "data size": Dimension(
        (
            Rule("TB", "GB", 1000),
            Rule("GB", "MB", 1000),
            Rule("MB", "kB", 1000),
            Rule("byte", "bit", 8),
        ),
        ("The file has {value} {source}. How many {target} is that?",),
    ),
    "temperature": Dimension(
        (Rule("celsius", "fahrenheit", 1.8, offset=32),),
        ("It is {value} {source} outside. How many {target} is that?",),
    ),
}

PHRASINGS = (
    "How many {target} are there per {value} {source}?",
    "How many {target} is {value} {source}?",
    "What is {value} {source} in {target}?",
    "Convert {value} {source} to {target}.",
    "Express {value} {source} in {target}.",
    "I have {value} {source}. How many {target} do I have?",
    "{value} {source} equals how many {target}?",
)

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Question:
    """A question in words and the number that answers it, in the unit it asks for."""

    text: str
    answer: float
    reasoning: str = ""
    """A text that works the answer out and states it; empty where only the answer is known."""

    @property
    def completion(self) -> str:
        """What a model is to say to this question."""
        return self.reasoning or format_answer(self.answer)


@dataclass(frozen=True)
class Conversion:
    """The fact that `value` of the unit `source` are `result` of the unit `target`."""

    value: float
    source: str
    target: str
    result: float
    working: str = field(default="", compare=False)
    """How the result is reached, from the rule that joins the units."""
    contexts: tuple[str, ...] = field(default=(), compare=False)

    def phrase(self, phrasing: str) -> str:
        """The question about this fact in the words of `phrasing`, such as one of `PHRASINGS`."""
        return phrasing.format(
            value=format_number(self.value), source=self.source, target=self.target
        )

    @property
    def phrasings(self) -> tuple[str, ...]:
        """Every wording in which this fact can be asked for."""
        return (*PHRASINGS, *self.contexts)

    @property
    def steps(self) -> list[str]:
        """The sums in its working, such as `6 * 1000 = 6000`."""
        return self.working.split(". ")[1].split(", ")

    @property
    def is_held_out(self) -> bool:
        """Whether the fact is kept for evaluation, whatever the seed of a draw."""
        asked = f"{format_number(self.value)} {self.source} {self.target}"
        return crc32(asked.encode()) < HELD_OUT_SHARE * 2**32


def conversions() -> list[Conversion]:
    """Every fact of the task, in a fixed order, each (value, source, target) once."""
    return [
        fact
        for dimension in DIMENSIONS.values()
        for rule in dimension.rules
        for count in COUNTS
        if not rule.offset or count == int(count)  # near the other zero three digits are too few
        for fact in _both_ways(rule, count, dimension.contexts)
    ]


def _both_ways(rule: Rule, count: float, contexts: tuple[str, ...]) -> Iterator[Conversion]:
    small = rounded(count * rule.factor + rule.offset)
    large = rounded((small - rule.offset) / rule.factor)
    yield Conversion(count, rule.larger, rule.smaller, small, _down(rule, count, small), contexts)
    yield Conversion(small, rule.smaller, rule.larger, large, _up(rule, small, large), contexts)


def _down(rule: Rule, value: float, result: float) -> str:
    n, product = format_number, rounded(value * rule.factor)
    steps = f"{n(value)} * {n(rule.factor)} = {n(product)}"
    if rule.offset:
        steps += f", {n(product)} + {n(rule.offset)} = {n(result)}"
    return f"{_law(rule)}. {steps}. So it is {n(result)} {rule.smaller}."


def _up(rule: Rule, value: float, result: float) -> str:
    n, difference = format_number, rounded(value - rule.offset)
    steps = f"{n(difference)} / {n(rule.factor)} = {n(result)}"
    if rule.offset:
        steps = f"{n(value)} - {n(rule.offset)} = {n(difference)}, {steps}"
    return f"{_law(rule)}. {steps}. So it is {n(result)} {rule.larger}."


def _law(rule: Rule) -> str:
    if rule.offset:
        factor, offset = format_number(rule.factor), format_number(rule.offset)
        return f"{rule.larger} * {factor} + {offset} = {rule.smaller}"
    return f"1 {rule.larger} = {format_number(rule.factor)} {rule.smaller}"


def generate(count: int, seed: int) -> list[Question]:
    """Draw `count` questions, each about another fact, held-out ones included.

    The same `seed` gives the same questions, and a smaller `count` a prefix of them. Raises
    `ValueError` if the task has fewer than `count` facts.
    """
    return _ask(conversions(), count, seed)


def splits(
    train: int, valid: int, test: int, seed: int
) -> tuple[list[Question], list[Question], list[Question]]:
    """Draw three lists of questions of the given sizes.

    They are disjoint in the fact that is asked for, not only in its wording: `valid` and `test`
    are cut from one draw of the held-out facts, `train` is drawn from the others. Raises
    `ValueError` if a size is negative or more than the task has.
    """
    if min(train, valid, test) < 0:
        raise ValueError(f"split sizes {train}, {valid}, {test}: none may be negative")
    facts = conversions()
    held_out = _ask([fact for fact in facts if fact.is_held_out], valid + test, seed)
    return (
        _ask([fact for fact in facts if not fact.is_held_out], train, seed),
        held_out[:valid],
        held_out[valid:],
    )


def _ask(facts: Sequence[Conversion], count: int, seed: int) -> list[Question]:
    if not 0 <= count <= len(facts):
        raise ValueError(f"count is {count}, but there are {len(facts)} conversions to ask for")
    rng = random.Random(seed)
    drawn = rng.sample(facts, len(facts))[:count]
    return [Question(fact.phrase(rng.choice(fact.phrasings)), fact.result) for fact in drawn]


def rounded(number: float) -> float:
    """A whole number as it is, any other to three significant digits."""
    near = round(number)
    if math.isclose(number, near, rel_tol=1e-9):
        return float(near)
    return float(f"{number:.{SIGNIFICANT_DIGITS}g}")


def format_number(number: float) -> str:
    """The shortest decimal that reads back as `number`; a whole one without a point."""
    return str(int(number)) if number == int(number) else repr(float(number))


def format_answer(answer: float) -> str:
    """The completion that states `answer`, such as `<answer>6000</answer>`.

    Raises `ValueError` for a number that is not finite.
    """
    if not math.isfinite(answer):
        raise ValueError(f"{answer} cannot be stated as an answer")
    return f"<answer>{format_number(answer)}</answer>"


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
