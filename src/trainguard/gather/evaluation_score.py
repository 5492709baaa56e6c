"""The answers of an evaluation against its references, and what needs no model to get them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainguard.facts.evaluation_score import ScoreFacts
from trainguard.gather.evaluation_grading import Grader, identity, is_empty, number

_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"\w+")

Pair = tuple[Any, Any]


#: A word in at most this share of the training rows is about the row, not its wording.
RARE = 0.1


class Training:
    """The training rows, as far as an evaluation row can be recognised among them.

    Args:
        pairs: question and answer.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._texts: set[str] = set()
        self._keys: dict[tuple[Any, ...], list[frozenset[str]]] = {}
        self._rows_with: Counter[str] = Counter()
        self._rows = 0
        self._by_numbers: dict[tuple[float, ...], Counter[str]] = {}
        self._answers: dict[str, Any] = {}
        for question, answer in pairs:
            words = _words(question)
            self._texts.add(words)
            self._rows_with.update(set(words.split()))
            self._rows += 1
            numbers = numbers_of(question)
            if numbers:
                held = self._keys.setdefault(_key(numbers, answer), [])
                held.append(frozenset(words.split()))
                self._by_numbers.setdefault(numbers, Counter())[identity(answer)] += 1
                self._answers[identity(answer)] = answer

    def has_seen(self, question: Any, expected: Any) -> bool:
        """Whether the question occurs, or one about the same thing with its numbers and answer.

        Numbers alone do not tell 6 km in m from 6 kg in gram; what a question is about, its rarer
        words do. Among so few rows that no word can be rare, numbers and answer are all there is.
        """
        words = _words(question)
        if words in self._texts:
            return True
        numbers = numbers_of(question)
        rows = self._keys.get(_key(numbers, expected), []) if numbers else []
        mine = self._rare(words.split())
        if self._rows < 1 / RARE:
            return bool(rows)
        return any(_is_within(mine, self._rare(row)) for row in rows)

    def _rare(self, words: Iterable[str]) -> set[str]:
        most = RARE * self._rows
        return {word for word in words if not word.isdecimal() and self._rows_with[word] <= most}

    def look_up(self, question: Any) -> Any:
        """The most frequent answer to the question's numbers; None if they do not occur."""
        known = self._by_numbers.get(numbers_of(question))
        return self._answers[known.most_common(1)[0][0]] if known else None


def score_facts(
    grader: Grader, answers: Sequence[Any], training: Training | None = None
) -> ScoreFacts:
    """Judge the answers and the baselines on the grader's questions.

    Args:
        grader: the questions with their expected answers, and how to compare.
        answers: what was answered, one for each question.
        training: the rows that the model was trained on; None if they are not known.
    """
    questions, expected = grader.questions, grader.expected
    facts: dict[str, Any] = {
        "rows": len(questions),
        "right": grader.right(answers),
        "answered": sum(not is_empty(answer) for answer in answers),
        "constant": grader.best_constant(_frequent(expected)),
    }
    if grader.judges_rows:
        copies = [[_number_at(question, place) for question in questions] for place in (0, -1)]
        facts["copied"] = max(sum(grader.rights(copy)) for copy in copies)
        facts |= _against(training, grader, grader.rights(answers)) if training else {}
    return ScoreFacts(**facts)


def _against(training: Training, grader: Grader, rights: Sequence[bool]) -> Mapping[str, Any]:
    rows = zip(grader.questions, grader.expected, strict=True)
    seen = [training.has_seen(question, expected) for question, expected in rows]
    found = [training.look_up(question) for question in grader.questions]
    return {
        "looked_up": sum(grader.rights(found)),
        "seen": sum(seen),
        "seen_right": sum(was and right for was, right in zip(seen, rights, strict=True)),
    }


#: The best constant answer is among the most frequent ones, or close to one of them.
CANDIDATES = 50


def _frequent(expected: Sequence[Any]) -> list[Any]:
    by_identity = {identity(one): one for one in expected}
    counts = Counter(map(identity, expected))
    return [by_identity[name] for name, _ in counts.most_common(CANDIDATES)]


def _is_within(words: set[str], others: set[str]) -> bool:
    """Whether one says what the other does; common words alone say nothing."""
    return bool(words & others) and (words <= others or others <= words)


def numbers_of(question: Any) -> tuple[float, ...]:
    """The numbers in a question, sorted; thousands may be set off by commas."""
    found = (number(text.replace(",", "")) for text in _NUMBER.findall(str(question)))
    return tuple(sorted(value for value in found if value is not None))


def _key(numbers: tuple[float, ...], answer: Any) -> tuple[Any, ...]:
    value = number(answer)
    # Six digits, as answers are computed on one side and written down on the other.
    known = identity(answer) if value is None or not math.isfinite(value) else f"{value:.6g}"
    return (*numbers, known)


def _words(question: Any) -> str:
    return " ".join(_WORD.findall(str(question).casefold()))


def _number_at(question: Any, place: int) -> float | None:
    found = _NUMBER.findall(str(question))
    return number(found[place].replace(",", "")) if found else None
