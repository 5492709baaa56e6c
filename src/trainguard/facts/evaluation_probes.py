"""What was tried on the parts of an evaluation: tokens, paths, tables, the parser, the grader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFacts:
    """The tokens that `generate` gave, against what the output head said before each of them."""

    WANTED: ClassVar[str] = "answers that were generated under audit_evaluation"

    decoding: str
    """Either "greedy" or "sampling"."""
    tokens: int
    """Tokens compared, up to the end of each text."""
    differing: int = 0
    """Greedy: tokens that the head did not rate highest."""
    surprise: float = 0.0
    """Sampling: natural logarithm of an e-value against "the tokens were drawn from the model".
    An honest sampler exceeds log(1 / p) with probability p at most."""
    processors: tuple[str, ...] = ()
    """Logits processors of the user's that stand between the head and the tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFacts:
    """The same questions answered by the method under audit and by another path."""

    WANTED: ClassVar[str] = "a second way to ask (also=...)"

    path: str
    """The other path, such as `parse_answer(batched_generate(...))`."""
    rows: int
    method_only: int
    """Questions that only the method under audit got right."""
    path_only: int
    """Questions that only the other path got right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatFacts:
    """Questions of the evaluation asked again, the model as it is, against their first answers."""

    WANTED: ClassVar[str] = "questions that were asked twice under audit_evaluation"

    decoding: str
    """Either "greedy" or "sampling"."""
    rows: int
    differing: int
    """Answers that are not the same number or text."""
    body_only: int = 0
    """Questions that were right in the evaluation alone."""
    again_only: int = 0
    """Questions that were right only when they were asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A container from which code on the way to an answer can read expected answers."""

    WANTED: ClassVar[str] = "the memory behind the methods of an evaluation under audit"

    key: str
    """The method that leads to it, such as `LLM.answer`."""
    place: str
    """How it is reached from there, such as `load_table, its cache`."""
    size: int
    """Entries of the container."""
    known: int
    """Questions of the audit that stand in it with their expected answer."""
    rows: int
    """Questions that were looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserFacts:
    """What a parser made of texts that state no answer."""

    WANTED: ClassVar[str] = "the parser (parse=..., or a method parse_answer)"

    name: str
    path: str | None = None
    line: int | None = None
    junk: int
    """Texts without an answer that it was given."""
    answered: int
    """How many of them it turned into an answer that does not stand in the text."""
    constant: str | None = None
    """That answer, if it was always the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraderFacts:
    """What a comparison of answers said to answers whose worth is known."""

    WANTED: ClassVar[str] = "the comparison of answers (correct=...)"

    name: str
    path: str | None = None
    line: int | None = None
    references: int
    """Expected answers that it was given as answers to their own questions."""
    accepted: int
    """How many of these it accepted."""
    pairs: int = 0
    """Expected answers given to questions that expect another one."""
    wrong_accepted: int = 0
    """How many of these it accepted."""
    junk_accepted: tuple[str, ...] = ()
    """What it accepted of None, NaN, infinity, an empty text and a sentence without an answer."""
    scaled: int = 0
    """Numeric expected answers, not zero, that it was given times ten and negated."""
    scaled_accepted: int = 0
    """How many of these it accepted in either form."""
