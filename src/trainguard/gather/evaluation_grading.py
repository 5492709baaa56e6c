"""Which answers count as right, and what an answer that ignores the question would get."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trainguard.facts.evaluation import ControlFacts

RELATIVE_TOLERANCE = 1e-6
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")

Correct = Callable[[Any, Any], bool]
Score = Callable[[Sequence[Any], Sequence[Any]], float]


def same(answer: Any, expected: Any) -> bool:
    """Equal numbers, or equal texts but for case and outer blanks; NaN and None never match."""
    if is_empty(answer) or is_empty(expected):
        return False
    left, right = number(answer), number(expected)
    if left is not None and right is not None:
        return math.isclose(left, right, rel_tol=RELATIVE_TOLERANCE)
    return _text(answer) == _text(expected)


def number(value: Any) -> float | None:
    """The value as a number; a float subclass cannot answer for itself, a bool is a text."""
    if isinstance(value, float):
        return float.__add__(value, 0.0)
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def _text(value: Any) -> str:
    return str(value).strip().casefold()


def is_empty(answer: Any) -> bool:
    """None, NaN and a blank text are no answers."""
    if isinstance(answer, str):
        return not answer.strip()
    value = None if answer is None else number(answer)
    return answer is None or (value is not None and math.isnan(value))


def identity(thing: Any) -> str:
    """What makes two questions or two answers the same one."""
    return thing if isinstance(thing, str) else repr(thing)


def stands_in(answer: Any, question: Any) -> bool:
    """Whether a question contains this number or this text."""
    value = number(answer)
    if value is not None:
        return any(same(value, float(text)) for text in _NUMBER.findall(str(question)))
    return _text(answer) in _text(question)


class Grader:
    """Judges answers to a fixed list of questions.

    Args:
        pairs: question and expected answer.
        correct: whether one answer is right; an answer that it cannot handle is wrong.
        score: the share, from 0 to 1, of a whole list of answers; replaces `correct`.
    """

    def __init__(
        self, pairs: Sequence[tuple[Any, Any]], correct: Correct | None, score: Score | None
    ) -> None:
        self.questions = [question for question, _ in pairs]
        self.expected = [expected for _, expected in pairs]
        self._correct = correct or same
        self._score = score

    @property
    def judges_rows(self) -> bool:
        """Whether answers are judged one by one."""
        return self._score is None

    def right(self, answers: Sequence[Any]) -> float:
        """How many answers are right."""
        if self._score is not None:
            return float(self._score(answers, self.expected)) * len(self.expected)
        return sum(self.rights(answers))

    def rights(self, answers: Sequence[Any]) -> list[bool]:
        """Which answers are right, one by one."""
        return [self._is_right(*pair) for pair in zip(answers, self.expected, strict=True)]

    def best_constant(self, candidates: Iterable[Any]) -> float:
        """Right answers of the candidate that is right most often when given to every question."""
        distinct = {identity(candidate): candidate for candidate in candidates}.values()
        return max((self.right([one] * len(self.expected)) for one in distinct), default=0)

    def control(self, plain: Sequence[Any], muted: Sequence[Any]) -> ControlFacts:
        """What the two passes say; the witness of the passes is added by whoever ran them."""
        facts: dict[str, Any] = {
            "rows": len(self.expected),
            "best_constant": self.best_constant([*self.expected, *muted]),
            "plain_right": self.right(plain),
            "muted_right": self.right(muted),
            "muted_distinct": len({identity(answer) for answer in muted}),
        }
        return ControlFacts(**facts, **({} if self._score else self._by_row(muted)))

    def _by_row(self, muted: Sequence[Any]) -> dict[str, Any]:
        rights = self.rights(muted)
        usual = Counter(map(identity, muted)).most_common(1)[0][0]
        varied = [row for row, answer in enumerate(muted) if identity(answer) != usual]
        part = Grader([(None, self.expected[row]) for row in varied], self._correct, None)
        rows = zip(rights, muted, self.questions, strict=True)
        return {
            "muted_echoed": sum(right and stands_in(said, asked) for right, said, asked in rows),
            "muted_varied": len(varied),
            "varied_right": sum(rights[row] for row in varied),
            "varied_constant": part.best_constant([*part.expected, *(muted[r] for r in varied)]),
        }

    def _is_right(self, answer: Any, expected: Any) -> bool:
        try:
            return bool(self._correct(answer, expected))
        except Exception:  # the user's comparison meets answers that it was not written for
            return False
