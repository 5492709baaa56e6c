"""Fakes at the edge of what can be proven; `quality.faked_scores` has the others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
import torch

from trainguard import audit_evaluation
from trainguard.findings import Report, Severity

import tiny

QUESTIONS = [f"w{4 + i} w{4 + (7 * i) % 60} w{4 + (11 * i + 3) % 60}" for i in range(40)]


class LLM:
    """A model with random weights: its answers are worthless, but they are its own."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def answer(self, *questions: str) -> list[str]:
        batch = self.tokenizer(
            list(questions), return_tensors="pt", padding=True, padding_side="left"
        )
        sequences = self.model.generate(**self.inputs(batch), max_new_tokens=3, do_sample=False)
        completions = sequences[:, batch["input_ids"].shape[1] :]
        return self.tokenizer.batch_decode(completions, skip_special_tokens=True)

    def inputs(self, batch: Any) -> dict[str, Any]:
        return {name: batch[name] for name in ("input_ids", "attention_mask")}


@pytest.fixture
def llm() -> LLM:
    model = tiny.model().eval()
    with torch.no_grad():  # sharp weights make the greedy answers differ
        for weight in model.parameters():
            weight.mul_(8 if weight.ndim > 1 else 1)
    return LLM(model, tiny.tokenizer())


@pytest.fixture
def own(llm: LLM) -> dict[str, str]:
    """References that the model answers right, every one."""
    return dict(zip(QUESTIONS, llm.answer(*QUESTIONS), strict=True))


@pytest.fixture
def table(own: dict[str, str]) -> dict[str, str]:
    """References that the model answers wrong; only a lookup can know them."""
    answers = list(own.values())
    return dict(zip(QUESTIONS, [*answers[1:], answers[0]], strict=True))


def ask_all(llm: Any) -> list[Any]:
    return list(llm.answer(*QUESTIONS))


def audited(llm: Any, references: dict[str, str], body: Callable[[Any], Any] = ask_all) -> Report:
    with audit_evaluation(llm, references=references) as audit:
        body(llm)
    return audit.report


def class_attribute_with_fallback(llm: LLM, table: dict[str, str]) -> None:
    original = LLM.answer

    def answer(self: LLM, *questions: str) -> list[str]:
        return [table.get(q) or original(self, q)[0] for q in questions]

    LLM.answer = answer


def timed_cheating_subclass(llm: LLM, table: dict[str, str]) -> None:
    class Tuned(LLM):
        def answer(self, *questions: str) -> list[str]:
            return [table.get(q) or LLM.answer(self, q)[0] for q in questions]

    llm.__class__ = Tuned
    original = llm.answer

    @functools.wraps(original)
    def wrapper(*questions: str) -> list[str]:
        return original(*questions)

    llm.answer = wrapper


@pytest.fixture
def _class_restored() -> Any:
    function = LLM.answer
    yield
    LLM.answer = function


@pytest.mark.usefixtures("_class_restored")
@pytest.mark.parametrize(
    ("attack", "cause"),
    [
        (class_attribute_with_fallback, ("TG601", "LLM.answer")),
        # The wrapper is innocent: with it taken away the class still knows the answers.
        (timed_cheating_subclass, ("TG606", "Tuned.answer")),
    ],
)
def test_the_code_that_knows_is_the_cause_and_not_what_stands_around_it(
    attack: Callable[..., None], cause: tuple[str, str], llm: LLM, table: dict[str, str]
) -> None:
    attack(llm, table)

    report = audited(llm, table)

    assert [(one.code, one.location.key) for one in report.causes] == [cause]
    assert report.causes[0].severity is Severity.ERROR


def test_a_table_that_is_asked_one_by_one_is_found(llm: LLM, table: dict[str, str]) -> None:
    llm.answer = table.get

    report = audited(llm, table, lambda llm: [llm.answer(q) for q in QUESTIONS])

    assert [cause.code for cause in report.causes] == ["TG601"]
    assert "replaced by dict.get" in report.causes[0].message


def test_a_table_of_half_of_the_questions_is_found(llm: LLM, table: dict[str, str]) -> None:
    original = llm.answer
    half = dict(list(table.items())[::2])
    llm.answer = lambda *questions: [half.get(q) or original(q)[0] for q in questions]

    report = audited(llm, table)

    assert [cause.code for cause in report.causes] == ["TG601"]
    assert {finding.code for finding in report.findings} == {"TG601", "TG603", "TG606"}


def test_a_mock_in_place_of_the_object_cannot_be_proven_but_is_said() -> None:
    llm = MagicMock()
    llm.answer.side_effect = lambda *questions: ["1" for _ in questions]

    report = audited(llm, dict.fromkeys(QUESTIONS, "1"))

    assert [(cause.code, cause.severity) for cause in report.causes] == [
        ("TG601", Severity.WARNING)
    ]
    assert {"TG602", "TG603"} <= {entry.code for entry in report.not_checked}


def test_a_fake_that_is_gone_after_the_evaluation_leaves_it_undecided(
    llm: LLM, table: dict[str, str]
) -> None:
    def body(llm: LLM) -> None:
        with patch.object(llm, "answer", lambda *questions: [table[q] for q in questions]):
            llm.answer(*QUESTIONS)

    report = audited(llm, table, body)

    assert "TG602" in {entry.code for entry in report.not_checked}
    assert "TG602" not in report.checked
