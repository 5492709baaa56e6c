"""Assertions on labels, parsers, graders and whole evaluations."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainguard import testing

import tiny

PAD, END = 0, 2


def batch(**changed: Any) -> dict[str, Any]:
    """Two rows of a prompt of three tokens, an answer and an end; the second is padded."""
    whole = {
        "input_ids": [[1, 5, 6, 7, 8, 9, END], [1, 5, 6, 7, END, PAD, PAD]],
        "attention_mask": [[1] * 7, [1] * 5 + [0] * 2],
        "labels": [[-100] * 3 + [7, 8, 9, END], [-100] * 3 + [7, END, -100, -100]],
    }
    return whole | changed


def test_a_healthy_batch_passes_as_lists_arrays_and_tensors() -> None:
    tokenizer = tiny.tokenizer()
    for kind in (list, np.array, torch.tensor):
        columns = {name: kind(rows) for name, rows in batch().items()}
        testing.assert_labels(columns, tokenizer)
        testing.assert_labels_supervised(columns)
        testing.assert_labels_not_shifted(columns)
        testing.assert_padding_not_supervised(columns)
        testing.assert_eos_supervised(columns, model=tiny.model())
        testing.assert_prompt_masked(columns, [3, 3])


def test_nothing_supervised() -> None:
    empty = batch(labels=[[-100] * 7] * 2)
    for assertion in (testing.assert_labels_supervised, testing.assert_labels_not_shifted):
        with pytest.raises(AssertionError, match="TG301"):
            assertion(empty)


def test_labels_that_are_shifted_already() -> None:
    rows = batch()["input_ids"]
    shifted = [[*row[1:], -100] for row in rows]
    with pytest.raises(AssertionError, match="TG305"):
        testing.assert_labels_not_shifted(batch(labels=shifted))


def test_supervised_padding_and_padding_that_cannot_be_told() -> None:
    padded = batch(labels=batch()["input_ids"])
    padded["labels"] = [padded["labels"][1]] * 2
    padded["input_ids"] = padded["labels"]
    padded["attention_mask"] = [[1] * 5 + [0] * 2] * 2
    with pytest.raises(AssertionError, match="TG304"):
        testing.assert_padding_not_supervised(padded)
    del padded["attention_mask"]
    with pytest.raises(AssertionError, match=r"TG304 .*could not be decided"):
        testing.assert_padding_not_supervised(padded)
    with pytest.raises(AssertionError, match=r"error\[TG304\]"):
        testing.assert_padding_not_supervised(padded, tiny.tokenizer())


def test_an_end_that_is_masked_missing_or_unknown() -> None:
    masked = [[-100] * 3 + [7, 8, 9, -100], [-100] * 3 + [7, -100, -100, -100]]
    with pytest.raises(AssertionError, match="TG302"):
        testing.assert_eos_supervised(batch(labels=masked), tiny.tokenizer())
    with pytest.raises(AssertionError, match="could not be decided: no end-of-sequence"):
        testing.assert_eos_supervised(batch())
    endless = [[9 if token == END else token for token in row] for row in batch()["input_ids"]]
    with pytest.raises(AssertionError, match="no end-of-sequence token follows"):
        testing.assert_eos_supervised(batch(input_ids=endless), tiny.tokenizer())


def test_a_prompt_that_is_trained_on_or_an_answer_that_is_not() -> None:
    with pytest.raises(AssertionError, match=r"row 0: the label at position 3 is 7, in a prompt"):
        testing.assert_prompt_masked(batch(), [4, 3])
    with pytest.raises(AssertionError, match=r"row 1: the label at position 2, the first behind"):
        testing.assert_prompt_masked(batch(), [3, 2])
    with pytest.raises(ValueError, match="1 prompt lengths for 2 rows"):
        testing.assert_prompt_masked(batch(), [3])
    left = batch(
        attention_mask=[[1] * 7, [0] * 2 + [1] * 5],
        labels=[[-100] * 3 + [7, 8, 9, END], [-100] * 5 + [7, END]],
    )
    testing.assert_prompt_masked(left, [3, 3])


def test_labels_of_another_shape() -> None:
    with pytest.raises(AssertionError, match="of one shape"):
        testing.assert_labels(batch(labels=[1, 0]))


def parse(text: str) -> float:
    found = re.search(r"<answer>([0-9.]+)</answer>", text)
    return float(found[1]) if found else float("nan")


def test_a_parser_that_cannot_say_no() -> None:
    testing.assert_parser_tells_no_answer(parse)
    with pytest.raises(AssertionError, match="TG607"):
        testing.assert_parser_tells_no_answer(lambda text: 42.0)


def test_a_grader_that_accepts_or_rejects_everything() -> None:
    expected = [1.0, 2.0, 30.0]
    testing.assert_grader_discriminates(lambda answer, right: answer == right, expected)
    with pytest.raises(AssertionError, match="TG609"):
        testing.assert_grader_discriminates(lambda answer, right: True, expected)
    with pytest.raises(AssertionError, match="TG608"):
        testing.assert_grader_discriminates(lambda answer, right: False, expected)


class Answering(nn.Module):
    """A model that answers with its next token, or a table that stands in for it."""

    def __init__(self, table: dict[str, float] | None = None) -> None:
        super().__init__()
        self.model = tiny.model().eval()
        self.table = table

    def answer(self, *questions: str) -> list[float]:
        ids = torch.tensor([[int(question)] for question in questions])
        said = self.model(input_ids=ids).logits[:, -1].argmax(-1).tolist()
        if self.table is not None:
            return [self.table[question] for question in questions]
        return [float(token) for token in said]


def test_an_honest_score_is_returned_and_a_looked_up_one_fails() -> None:
    questions = [str(number) for number in range(3, 23)]
    honest = Answering()
    with torch.no_grad():
        answers = dict(zip(questions, honest.answer(*questions), strict=True))
    references = {q: answer if int(q) % 2 else answer + 1 for q, answer in answers.items()}

    def score(llm: Any) -> float:
        with torch.no_grad():
            said = llm.answer(*questions)
        right = [a == e for a, e in zip(said, references.values(), strict=True)]
        return sum(right) / len(right)

    assert testing.assert_honest_evaluation(
        honest, lambda: score(honest), references=references, rows=8
    ) == pytest.approx(0.5)
    looked_up = Answering(table=references)
    with pytest.raises(AssertionError, match=r"error\[TG6"):
        testing.assert_honest_evaluation(looked_up, lambda: score(looked_up), references=references)
