import math
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.reference.prompts import EXAMPLE
from trainguard.reference.units import (
    DIMENSIONS,
    Conversion,
    Question,
    conversions,
    format_answer,
    format_number,
    generate,
    is_right,
    parse_answer,
    splits,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
RULES = {
    pair: rule
    for dimension in DIMENSIONS.values()
    for rule in dimension.rules
    for pair in ((rule.larger, rule.smaller), (rule.smaller, rule.larger))
}
UNITS = sorted({unit for pair in RULES for unit in pair}, key=len, reverse=True)
UNIT = re.compile(rf"(?<![\w/])({'|'.join(map(re.escape, UNITS))})(?![\w/])")


def read(question: Question) -> tuple[float, str, str]:
    """Value, source and target unit, read back from the words alone."""
    (number,) = re.finditer(r"\d+(\.\d+)?", re.sub(r"[a-z]2\b", "--", question.text))
    source = UNIT.match(question.text, number.end() + 1)[1]
    others = {unit for unit in UNIT.findall(question.text) if (source, unit) in RULES}
    (target,) = others
    return (float(number[0]), source, target)


def test_the_whole_task_is_answered_by_the_rules_between_the_units():
    for question in generate(len(conversions()), seed=3):
        value, source, target = read(question)
        rule = RULES[source, target]
        down = value * rule.factor + rule.offset
        exact = down if source == rule.larger else (value - rule.offset) / rule.factor
        assert question.answer == pytest.approx(exact, rel=5e-3)
        assert is_right(question.answer, exact)


def test_the_working_is_arithmetic_that_ends_in_the_result():
    for fact in conversions():
        for step in fact.steps:
            left, right = step.split(" = ")
            a, operator, b = left.split()
            exact = {"*": float.__mul__, "/": float.__truediv__}.get(
                operator, float.__add__ if operator == "+" else float.__sub__
            )(float(a), float(b))
            assert float(right) == pytest.approx(exact, rel=5.1e-3)
        assert float(fact.steps[-1].split(" = ")[1]) == fact.result
        assert fact.working.endswith(f"So it is {format_number(fact.result)} {fact.target}.")


def test_the_worked_example_of_the_prompt_is_right_and_not_held_out():
    (fact,) = [f for f in conversions() if (f.value, f.source, f.target) == read(EXAMPLE)]
    assert not fact.is_held_out
    assert fact.result == EXAMPLE.answer == parse_answer(EXAMPLE.reasoning)
    assert EXAMPLE.reasoning == f" {fact.working} {format_answer(fact.result)}"


def test_a_fifth_is_held_out_and_never_trained_on():
    held_out = {(f.value, f.source, f.target) for f in conversions() if f.is_held_out}
    assert 0.18 < len(held_out) / len(conversions()) < 0.22
    train, valid, test = splits(2000, 100, 300, seed=5)
    assert held_out.isdisjoint(map(read, train))
    assert held_out.issuperset(map(read, [*valid, *test]))


@pytest.mark.parametrize(
    "fact",
    [
        (6, "kg", "gram", 6000),
        (3000, "m", "km", 3),
        (2, "m", "cm", 200),
        (5, "liter", "dl", 50),
        (2, "minute", "second", 120),
        (180, "minute", "hour", 3),
        (2, "day", "hour", 48),
        (0.5, "hour", "minute", 30),
        (20, "celsius", "fahrenheit", 68),
        (2.5, "inch", "cm", 6.35),
        (3, "GB", "MB", 3000),
    ],
)
def test_well_known_facts_are_among_the_conversions(fact):
    assert Conversion(*fact) in conversions()


def test_conversions_are_unique_and_their_results_short():
    facts = conversions()
    assert len({(fact.value, fact.source, fact.target) for fact in facts}) == len(facts)
    assert all(float(f"{fact.result:.3g}") == fact.result or fact.result > 999 for fact in facts)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers())
def test_splits_have_their_sizes_and_share_no_conversion(train, valid, test, seed):
    parts = splits(train, valid, test, seed)
    assert [len(part) for part in parts] == [train, valid, test]
    asked = [read(question) for part in parts for question in part]
    assert len(set(asked)) == len(asked)


@given(st.integers(0, 40), st.integers(0, 40), st.integers())
def test_fewer_questions_of_a_seed_are_a_prefix(fewer, more, seed):
    fewer, more = sorted((fewer, more))
    assert generate(more, seed)[:fewer] == generate(fewer, seed)


def test_seeds_and_phrasings_differ():
    assert generate(20, seed=0) != generate(20, seed=1)
    assert len({question.text.split()[0] for question in generate(80, seed=0)}) > 5


@pytest.mark.parametrize("count", [-1, len(conversions()) + 1])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(ValueError, match=str(count)):
        generate(count, seed=0)


def test_a_negative_split_is_refused():
    with pytest.raises(ValueError, match="negative"):
        splits(10, -1, 0, seed=0)


@given(FINITE)
def test_a_formatted_answer_parses_to_itself(answer):
    assert parse_answer(format_answer(answer)) == answer


def test_a_whole_answer_is_written_without_a_point():
    assert format_answer(6000.0) == "<answer>6000</answer>"


@pytest.mark.parametrize("answer", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_cannot_be_formatted(answer):
    with pytest.raises(ValueError, match="cannot be stated"):
        format_answer(answer)


@given(st.text())
def test_text_without_an_element_states_no_answer(text):
    assert math.isnan(parse_answer(text.replace("</answer>", "")))


@given(st.text(), FINITE)
def test_an_element_with_anything_beside_the_number_states_no_answer(junk, number):
    inside = f"{junk}x{number!r}"
    assert math.isnan(parse_answer(f"<answer>{inside}</answer>"))
    assert math.isnan(parse_answer(f"<answer>{number!r} {junk}x</answer>"))


@pytest.mark.parametrize(
    "inside",
    [
        "",
        " ",
        "nan",
        "inf",
        "-",
        ".",
        "1_000",
        "6,000",
        "6 000",
        "6 kg",
        "0x10",
        "1e999",
        "٣",
        "1/2",
    ],
)
def test_what_float_or_a_reader_might_accept_but_is_no_plain_number(inside):
    assert math.isnan(parse_answer(f"<answer>{inside}</answer>"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("6 kg = 6000 gram, so <answer>6000</answer>", 6000),
        ("<answer>\n-2.5e1 </answer> done", -25),
        ("<answer>7</answer>, no: <answer>8</answer>", 8),
        ("<answer>7</answer>, no: <answer>", 7),
    ],
)
def test_the_last_element_states_the_answer(text, answer):
    assert parse_answer(text) == answer


def test_a_junk_last_element_is_not_replaced_by_an_earlier_one():
    assert math.isnan(parse_answer("<answer>7</answer> <answer>none</answer>"))


@given(FINITE.filter(lambda x: 1e-300 < abs(x) < 1e300), st.floats(-0.049, 0.049))
def test_an_answer_within_five_percent_is_right(expected, error):
    assert is_right(expected * (1 + error), expected)


@given(FINITE.filter(lambda x: 1e-300 < abs(x) < 1e300), st.floats(0.051, 10))
def test_an_answer_further_off_is_wrong(expected, error):
    assert not is_right(expected * (1 + error), expected)
    assert not is_right(expected * (1 - error), expected)


@given(FINITE)
def test_no_answer_is_never_right(expected):
    assert not any(is_right(answer, expected) for answer in (None, math.nan, math.inf, -math.inf))


@pytest.mark.parametrize("expected", [math.nan, math.inf])
def test_nothing_is_right_about_a_question_without_an_answer(expected):
    assert not is_right(1.0, expected)
    assert not is_right(expected, expected)


def test_asking_and_judging_need_no_torch():
    code = "import sys, trainguard.reference.units; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
