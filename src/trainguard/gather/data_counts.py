"""What is counted of the rows of one split, as they go by."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from zlib import crc32

from trainguard.gather.data_rows import DataRow
from trainguard.gather.overlap_texts import number, words_of

#: Distinct questions that are remembered; above it, a half of them is dropped at a time.
LARGEST_MEMORY = 200_000
#: Rows of a split whose texts are looked into; what is true of these is true of the rest.
LARGEST_LOOK = 50_000
#: Longer answers than this may differ with good reason: there are many ways to say a thing.
SHORT_ANSWER = 40
TOLERANCE = 0.05
#: Reasonings that are compared with each other.
MOST_REASONINGS = 5000

#: No hash: Python keeps -1 for itself.
_SEVERAL = -1

_TAGGED = re.compile(r"<answer>\s*([^<]*?)\s*</answer>|####\s*(\S+)|\\boxed\{([^{}]*)\}")
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")


class Repeats:
    """Rows and questions that occur more than once, exactly or of a random share of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, int] = {}
        self._level = 0
        self._rows: dict[tuple[int, int], int] = {}
        """By hash of the row, and of its question, by which a share is drawn: its number."""
        self._answers: dict[tuple[int, int], int] = {}
        """By hashes of the question, that of its first answer; `_SEVERAL` once they differ."""

    def add(self, row: DataRow, number: int) -> None:
        """Count one row."""
        question = row.question.strip()
        draw = crc32(question.encode("utf-8", "replace"))  # the same in every process
        if draw & ((1 << self._level) - 1):
            return
        answer = (row.answer or "").strip()
        whole = (hash((question, answer, row.reasoning, row.rejected)), draw)
        if self._rows.setdefault(whole, number) != number:
            self._count("repeated", number)
        if _is_closed(row, answer):
            self._note_answer((hash(question), draw), answer, number)
        if len(self._rows) > LARGEST_MEMORY:
            self._halve()

    def _count(self, what: str, number: int) -> None:
        self.counts[what] += 1
        self.first.setdefault(what, number)

    def _note_answer(self, question: tuple[int, int], answer: str, row: int) -> None:
        value = concluded(answer)
        said = hash(tuple(words_of(answer)) if value is None else value)
        if self._answers.setdefault(question, said) not in (said, _SEVERAL):
            self._answers[question] = _SEVERAL
            self._count("conflicting", row)

    def _halve(self) -> None:
        """Keep half of the questions; what was counted so far stands for as many fewer."""
        self._level += 1
        others = (1 << self._level) - 1
        self._rows = {key: row for key, row in self._rows.items() if not key[1] & others}
        self._answers = {key: one for key, one in self._answers.items() if not key[1] & others}
        self.counts = Counter({what: count // 2 for what, count in self.counts.items()})

    def facts(self) -> dict[str, Any]:
        """The counts as fields of `SplitFacts`."""
        share = 1 << self._level
        counts = {what: self.counts[what] * share for what in ("repeated", "conflicting")}
        return {**counts, "estimated": share > 1}


class Texts:
    """What the texts of rows give away: answers in questions, reasonings that do not hold."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, int] = {}
        self._reasonings: list[tuple[list[str], set[str]]] = []
        """The words of a reasoning, and those of its question and answer."""
        self._previous: list[str] = []
        self._chances = self._by_chance = 0

    def add(self, row: DataRow, number: int) -> None:
        """Look into one row."""
        if row.rejected is not None:
            self._count("preferences", number)
            if row.rejected.strip() == (row.answer or "").strip():
                self._count("undecided", number)
        elif row.answer and not row.has_context:
            self._look_for_answer(row, number)
        if row.reasoning is not None and row.answer is not None:
            self._note_reasoning(row, number)

    def _count(self, what: str, number: int) -> None:
        self.counts[what] += 1
        self.first.setdefault(what, number)

    def _look_for_answer(self, row: DataRow, number: int) -> None:
        question, answer = words_of(row.question), words_of(row.answer or "")
        if not answer:
            return
        self._count("prompted", number)
        if _stands_in(answer, question):
            self._count("leaking", number)
        if self._previous and self._previous != answer:
            self._chances += 1
            self._by_chance += _stands_in(self._previous, question)
        self._previous = answer

    def _note_reasoning(self, row: DataRow, place: int) -> None:
        expected, reached = number(row.answer), conclusions(row.reasoning or "")
        if expected is not None and reached and not row.has_context:
            self._count("reasoned", place)
            if all(abs(one - expected) > TOLERANCE * abs(expected) for one in reached):
                self._count("wrong", place)
        if len(self._reasonings) < MOST_REASONINGS:
            own = {*words_of(row.question), *words_of(row.answer or "")}
            self._reasonings.append((words_of(row.reasoning or ""), own))

    def facts(self) -> dict[str, Any]:
        """The counts as fields of `SplitFacts`."""
        counted = ("preferences", "undecided", "prompted", "leaking", "reasoned", "wrong")
        rate = self._by_chance / self._chances if self._chances else 0.0
        return {
            **{what: self.counts[what] for what in counted},
            "leaking_by_chance": rate * self.counts["prompted"],
            **self._templates(),
        }

    def _templates(self) -> dict[str, int]:
        """Numbers and what the question brings are left out; words of most reasonings are not."""
        frequency = Counter(word for words, _ in self._reasonings for word in set(words))
        usual = {word for word, n in frequency.items() if 2 * n >= len(self._reasonings)}
        templates = Counter(
            tuple(_mask(word, own - usual) for word in words) for words, own in self._reasonings
        )
        return {
            "compared": len(self._reasonings),
            "templates": len(templates),
            "largest_template": max(templates.values(), default=0),
        }


def _stands_in(part: list[str], whole: list[str]) -> bool:
    """Whether words stand in a text in one piece."""
    size = len(part)
    if size == 1:
        return part[0] in whole
    return any(whole[at : at + size] == part for at in range(len(whole) - size + 1))


def _is_closed(row: DataRow, answer: str) -> bool:
    """Whether a question has one right answer: not in a chat, unless it is a number."""
    if row.answer is None or row.rejected is not None or row.is_rated:
        return False
    return len(answer) <= SHORT_ANSWER and (not row.is_chat or number(answer) is not None)


def conclusions(reasoning: str) -> list[float]:
    """The number in the last answer tag, or else those of the last line that has any."""
    tags = _TAGGED.findall(reasoning)
    lines = ["".join(tags[-1])] if tags else reasoning.splitlines()
    found = next((some for line in reversed(lines) if (some := _NUMBER.findall(line))), [])
    values = [number(one) for one in (found[-1:] if tags else found)]
    return [value for value in values if value is not None]


def concluded(reasoning: str) -> float | None:
    """The number that a reasoning ends in: of its last answer tag, or else the last one."""
    return next(reversed(conclusions(reasoning)), None)


def _mask(word: str, own: set[str]) -> str:
    return "_" if word in own or word[0].isdigit() else word
