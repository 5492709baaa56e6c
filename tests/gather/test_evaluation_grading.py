"""The arithmetic behind the control: right answers, and the best answer that knows nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.gather.evaluation_grading import Grader, is_empty, same, stands_in

answers = st.sampled_from(["yes", "no", "7", 7.0, math.nan, None, ""])
expected = st.sampled_from(["yes", "no", "7", 8])
lists = st.lists(st.tuples(expected, answers), min_size=1, max_size=40)


class Fake(float):
    def __eq__(self, _: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __float__(self) -> float:
        return 5.0


@pytest.mark.parametrize(
    ("answer", "right", "matches"),
    [
        ("6000", 6000, True),
        (6000.0000001, 6000, True),
        (6001, 6000, False),
        (" Paris ", "paris", True),
        ("Paris", "London", False),
        (math.nan, math.nan, False),
        (None, None, False),
        ("", "", False),
        (Fake(0.0), 5, False),
        (True, 1, False),
    ],
)
def test_numbers_and_texts_match(answer: Any, right: Any, matches: bool) -> None:
    assert same(answer, right) is matches


def grader(pairs: list[tuple[Any, Any]]) -> Grader:
    return Grader([(f"q{i}", right) for i, (right, _) in enumerate(pairs)], None, None)


@given(lists)
def test_the_best_constant_is_the_best_of_all_constants(pairs: list[tuple[Any, Any]]) -> None:
    rights = [right for right, _ in pairs]
    by_hand = max(sum(same(one, right) for right in rights) for one in ["yes", "no", 7, 8])

    assert grader(pairs).best_constant(rights) == by_hand


@given(lists, answers)
def test_a_constant_answer_never_proves_anything(pairs: list[tuple[Any, Any]], one: Any) -> None:
    constant = [one] * len(pairs)

    control = grader(pairs).control(constant, constant)

    assert control.muted_distinct == 1
    assert control.muted_right <= control.best_constant
    assert not control.proves


@given(lists)
def test_the_counts_add_up(pairs: list[tuple[Any, Any]]) -> None:
    muted = [answer for _, answer in pairs]
    control = grader(pairs).control(muted, muted)

    assert control.muted_right == sum(same(answer, right) for right, answer in pairs)
    assert control.plain_right == control.muted_right
    assert control.varied_right <= min(control.muted_varied, control.muted_right)
    assert control.varied_right + control.best_constant >= control.muted_right
    assert control.muted_echoed <= control.muted_right <= control.rows


@given(st.lists(st.integers(), min_size=2, unique=True))
def test_a_lookup_of_different_answers_proves_itself(rights: list[int]) -> None:
    control = grader([(right, right) for right in rights]).control(rights, rights)

    assert control.proves == (len(rights) > 1)


def test_a_comparison_that_raises_finds_nothing_right() -> None:
    strict = Grader([("q", 1.0), ("r", 2.0)], lambda answer, right: abs(answer - right) < 1, None)

    assert strict.right([None, 2.0]) == 1


@pytest.mark.parametrize("answer", [None, math.nan, "", "  "])
def test_what_says_nothing_is_empty(answer: Any) -> None:
    assert is_empty(answer)


@pytest.mark.parametrize("answer", [0, 0.0, "0", "no", False, []])
def test_what_says_something_is_not_empty(answer: Any) -> None:
    assert not is_empty(answer)


def test_an_answer_stands_in_its_question_as_a_number_or_a_text() -> None:
    assert stands_in(6.0, "How many gram are there per 6 kg?")
    assert stands_in("KG", "How many gram are there per 6 kg?")
    assert not stands_in(6.0, "How many gram are there per 60 kg?")
