"""Faults of questions, and of the reasoning that is kept."""

from __future__ import annotations

from dataclasses import replace

from trainguard.reference.data import Splits
from trainguard.reference.rft import Kept
from trainguard.reference.units import Question, format_answer, format_number, rounded


def train_holds_test(splits: Splits) -> Splits:
    """Somebody has put all the data there was into the training file."""
    return {**splits, "train": splits["train"] + splits["test"]}


def valid_is_test(splits: Splits) -> Splits:
    """The validation file is a copy of the test file."""
    return {**splits, "valid": splits["test"]}


def answer_in_question(splits: Splits) -> Splits:
    """The column of questions was built with the answer in it."""
    return {name: [_telling(row) for row in rows] for name, rows in splits.items()}


def _telling(row: Question) -> Question:
    return replace(row, text=f"{row.text} (answer: {format_number(row.answer)})")


def conflicting(splits: Splits) -> Splits:
    """A second source counts in tenths."""
    train = splits["train"]
    tenth = [replace(row, answer=rounded(row.answer / 10)) for row in train[: len(train) // 4]]
    return {**splits, "train": train + tenth}


def wrong_reasoning(kept: Kept) -> Kept:
    """Every third reasoning is kept although it ends in twice the answer."""
    rows = [_doubled(row) if n % 3 == 0 else row for n, row in enumerate(kept.questions)]
    return replace(kept, questions=tuple(rows))


def _doubled(row: Question) -> Question:
    stated = row.reasoning[row.reasoning.rindex("<answer>") :]
    wrong = format_answer(rounded(2 * row.answer))
    return replace(row, reasoning=row.reasoning.replace(stated, wrong))


def one_template(kept: Kept) -> Kept:
    """The reasoning was written by a format string."""
    rows = [
        replace(row, reasoning=f" The result is {n}. {format_answer(row.answer)}")
        for row in kept.questions
        for n in [format_number(row.answer)]
    ]
    return replace(kept, questions=tuple(rows))
