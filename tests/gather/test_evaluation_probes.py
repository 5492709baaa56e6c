"""Parsers and comparisons: faulty ones are told, honest ones of every kind are not."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from trainguard.checks.evaluation.grader_accepts_junk import grader_accepts_junk
from trainguard.checks.evaluation.grader_rejects_references import grader_rejects_references
from trainguard.checks.evaluation.parser_cannot_fail import parser_cannot_fail
from trainguard.facts.evaluation import EvaluationFacts
from trainguard.findings import Finding, Severity
from trainguard.gather.evaluation_grading import same
from trainguard.gather.evaluation_probes import JUNK, grader_facts, parser_facts
from trainguard.reference.units import is_right, parse_answer

NUMBERS = [float(7 * i) for i in range(1, 33)]
TEXTS = [f"city {i}" for i in range(32)]


def of_parser(parse: Any) -> list[Finding]:
    found = parser_cannot_fail(EvaluationFacts(), parser_facts(parse))
    return [one for one in found if isinstance(one, Finding)]


def of_grader(correct: Any, expected: Any = NUMBERS) -> list[Finding]:
    facts = grader_facts(expected, correct)
    return [*grader_accepts_junk(facts), *grader_rejects_references(facts)]


def zero_by_default(text: str) -> float:
    found = re.search(r"<answer>(.+?)</answer>", text)
    return float(found[1]) if found else 0.0


def length(text: str) -> int:
    return len(text) + 1


def first_choice_by_default(text: str) -> str:
    found = re.search(r"\b([ABCD])\b", text)
    return found[1] if found else "A"


@pytest.mark.parametrize("parse", [zero_by_default, length, first_choice_by_default])
def test_a_parser_that_makes_answers_up_is_named(parse: Any) -> None:
    (finding,) = of_parser(parse)

    assert parse.__name__ in finding.message
    assert finding.location.line
    assert str(finding.location.path).endswith("test_evaluation_probes.py")


def last_number(text: str) -> float | None:
    found = re.findall(r"\d+", text)
    return float(found[-1]) if found else None


def free_text(text: str) -> str:
    return text.strip()


def without_tags(text: str) -> str:
    return re.sub(r"<[^>]*>", "", text).strip().lower()


def raising(text: str) -> float:
    return float(text.split("<answer>")[1].split("</answer>")[0])


def of_json(text: str) -> Any:
    return json.loads(text)["answer"]


def choice(text: str) -> str:
    found = re.search(r"\b([ABCD])\b", text)
    return found[1] if found else ""


def yes_or_no(text: str) -> str | None:
    return next((word for word in ("yes", "no") if word in text.lower()), None)


def all_numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+", text)]


@pytest.mark.parametrize(
    "parse",
    [
        *(parse_answer, last_number, free_text, without_tags, raising, of_json, choice),
        *(yes_or_no, all_numbers),
    ],
)
def test_an_honest_parser_is_silent(parse: Any) -> None:
    assert of_parser(parse) == []


def test_the_junk_states_no_number() -> None:
    assert not any(character.isdigit() for text in JUNK for character in text)


def always(answer: Any, expected: Any) -> bool:
    return True


def reversed_test(answer: Any, expected: Any) -> bool:
    return not abs(answer - expected) > 0.05 * abs(expected)


def blank_matches(answer: Any, expected: Any) -> bool:
    return str(answer or "") in str(expected)


@pytest.mark.parametrize(
    ("correct", "said"),
    [
        (always, "expected answers of other questions"),
        (reversed_test, "NaN"),
        (blank_matches, "None"),
    ],
)
def test_a_comparison_that_holds_for_junk_is_an_error(correct: Any, said: str) -> None:
    (finding,) = of_grader(correct)

    assert finding.severity is Severity.ERROR
    assert said in finding.message
    assert correct.__name__ in finding.message


def test_a_comparison_of_digits_alone_is_a_warning() -> None:
    def starts_alike(answer: Any, expected: Any) -> bool:
        return answer is not None and str(answer)[:2] == str(expected)[:2] and answer == answer

    (finding,) = of_grader(lambda a, b: starts_alike(a, b), [float(10 + i) for i in range(32)])

    assert (finding.code, finding.severity) == ("", Severity.WARNING)
    assert "times ten" in finding.message


def test_a_comparison_of_different_types_rejects_its_references() -> None:
    (finding,) = of_grader(lambda answer, expected: str(answer) == f"{expected:g}")

    assert "rejects 32 of 32" in finding.message
    assert finding.severity is Severity.ERROR


def test_one_reference_of_many_that_cannot_be_right_is_a_warning() -> None:
    (finding,) = of_grader(is_right, [*NUMBERS, math.nan])

    assert "rejects 1 of 33" in finding.message
    assert finding.severity is Severity.WARNING


def folded(answer: Any, expected: Any) -> bool:
    return isinstance(answer, str) and answer.strip().casefold() == expected.casefold()


def contained(answer: Any, expected: Any) -> bool:
    return isinstance(answer, str) and f" {expected} " in f" {answer} "


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        (is_right, NUMBERS),
        (is_right, [0.0, *NUMBERS]),
        (same, NUMBERS),
        (same, TEXTS),
        (folded, TEXTS),
        (contained, TEXTS),
        (lambda answer, expected: answer == expected, ["yes", "no"] * 16),
        (lambda answer, expected: answer == expected, ["A", "B", "C", "D"] * 8),
        (lambda answer, expected: answer == expected, [True, False] * 16),
        (lambda answer, expected: answer == expected, list(range(10))),
    ],
)
def test_an_honest_comparison_is_silent(correct: Any, expected: Any) -> None:
    assert of_grader(correct, expected) == []
