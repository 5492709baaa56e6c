"""Scores, baselines and bounds: exact on what can be counted by hand."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainguard.checks.evaluation.impossible_score import impossible_score
from trainguard.facts.evaluation_score import (
    ClaimFacts,
    binomial_tail,
    exact_match_floor,
    exact_match_range,
    fisher,
    wilson,
)
from trainguard.gather.evaluation_grading import Grader
from trainguard.gather.evaluation_score import Training, numbers_of, score_facts
from trainguard.reference.units import is_right

PAIRS = [(f"How many gram is {i} kg?", 1000.0 * i) for i in range(1, 41)]


def scored(answers: list[Any], **options: Any) -> Any:
    return score_facts(Grader(PAIRS, is_right, None), answers, **options)


def test_right_answered_and_baselines_are_counted() -> None:
    answers = [1000.0 * i if i % 2 else math.nan for i in range(1, 41)]

    facts = scored(answers)

    assert (facts.rows, facts.right, facts.answered) == (40, 20, 20)
    assert facts.constant == 4  # 38000 stands for 37000 to 40000 within 5 %
    assert facts.copied == 0
    assert facts.seen is None


def test_copying_a_number_is_a_baseline() -> None:
    pairs = [(f"Repeat {i}.", float(i)) for i in range(1, 41)]
    facts = score_facts(Grader(pairs, is_right, None), [0.0] * 40)

    assert facts.copied == 40
    assert facts.baseline == (40, "copying a number of the question")


def test_seen_rows_are_those_with_the_text_or_the_numbers_and_the_answer() -> None:
    training = Training(
        [
            ("HOW MANY gram is 1 kg", 0.0),  # the question, in other case and punctuation
            ("2 kg, in gram, are?", 2000.0),  # the exercise in other words
            ("How many gram is 3 kg?!", 3000.0),
            ("How many mg is 4 gram?", 4000.0),  # another exercise, the same key
            ("How many tonnes is 5 kg?", 0.005),  # the number alone
        ]
    )

    facts = scored([1000.0 * i for i in range(1, 41)], training=training)

    assert (facts.seen, facts.seen_right) == (4, 4)
    assert facts.looked_up == 3


def test_common_words_do_not_make_rows_the_same() -> None:
    factors = {("km", "m"): 1000.0, ("m", "mm"): 1000.0, ("gram", "mg"): 1000.0}
    rows = [
        (f"Convert {value} {source} to {target}.", value * factor)
        for (source, target), factor in factors.items()
        for value in range(1, 41)
    ]
    asked = "Convert 7 km to m."
    others = [row for row in rows if row[0] != asked]

    assert Training(rows).has_seen(asked, 7000.0)
    assert not Training(others).has_seen(asked, 7000.0)


def test_numbers_are_read_with_thousands_and_exponents() -> None:
    assert numbers_of("from 1,200 to 3e3 and -4.5") == (-4.5, 1200.0, 3000.0)
    assert numbers_of("no number") == ()


@given(st.integers(1, 500), st.data())
def test_the_interval_holds_the_share_and_stays_a_share(rows: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, rows))
    low, high = wilson(right, rows)

    assert 0 <= low <= right / rows + 1e-12
    assert right / rows - 1e-12 <= high <= 1
    mirrored = wilson(rows - right, rows)
    assert (1 - high, 1 - low) == pytest.approx(mirrored)


def test_the_interval_is_wilsons() -> None:
    assert wilson(60, 100) == pytest.approx((0.502, 0.691), abs=5e-4)
    assert wilson(100, 100)[0] == pytest.approx(0.963, abs=5e-4)


@given(
    st.lists(st.booleans(), min_size=1, max_size=5), st.lists(st.booleans(), min_size=1, max_size=4)
)
def test_fishers_p_is_the_share_of_relabelings(first: list[bool], second: list[bool]) -> None:
    rows = [*first, *second]
    picks = [sum(pick) for pick in itertools.combinations(rows, len(first))]
    expected = sum(right >= sum(first) for right in picks) / len(picks)

    assert fisher(sum(first), len(first), sum(second), len(second)) == pytest.approx(expected)


@given(st.integers(0, 12), st.floats(0, 1))
def test_the_binomial_tail_counts_every_outcome(trials: int, chance: float) -> None:
    tails = [binomial_tail(k, trials, chance) for k in range(trials + 2)]

    assert tails[0] == pytest.approx(1)
    assert tails[-1] == 0
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(tails))
    mean = sum(tails[1:])
    assert mean == pytest.approx(trials * chance, abs=1e-9)


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), min_size=1, max_size=12))
def test_the_bounds_hold_for_every_set_of_token_probabilities(rows: list[list[float]]) -> None:
    """A token above one half is the most probable one; below it may be or not: take the worst."""
    for at_best in (True, False):
        top = [[p > 0.5 or (at_best and p > 0.01) for p in row] for row in rows]
        matches = sum(map(all, top)) / len(rows)
        nll = sum(-math.log(math.prod(row)) for row in rows) / len(rows)
        tokens = sum(map(len, rows))
        share = sum(map(sum, top)) / tokens
        low, high = exact_match_range(share, tokens, len(rows), max(map(len, rows)))

        assert exact_match_floor(nll) <= matches + 1e-9
        assert low - 1e-9 <= matches <= high + 1e-9


@given(st.integers(1, 2000), st.data())
def test_a_true_share_is_possible_however_it_was_rounded(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count))
    decimals = data.draw(st.integers(2, 6))
    claim = ClaimFacts(
        accuracy=round(right / count, decimals),
        answer_rate=1.0,
        count=count,
        recorded=right / count,
    )
    assume(0.5 * 10.0**-decimals <= 0.5 / count)

    assert not list(impossible_score(claim))


@given(st.integers(2, 400), st.data())
def test_a_score_that_is_off_by_one_row_is_told(count: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, count - 1))
    claim = ClaimFacts(accuracy=(right + 1) / count, count=count, recorded=right / count)

    (finding,) = impossible_score(claim)

    assert "by the same comparison" in finding.message


def test_the_baselines_leave_the_users_random_state_alone() -> None:
    random.seed(1)
    before = random.getstate()
    scored([0.0] * 40, training=Training(PAIRS))

    assert random.getstate() == before
