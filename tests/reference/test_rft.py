import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.reference.benchmark import LLM
from trainguard.reference.rft import OtherSamplesError, draw, reject
from trainguard.reference.units import Question, generate, parse_answer

QUESTION = Question("Convert 6 kg to gram.", 6000.0)
RIGHT = " 6 * 1000 = 6000. <answer>6000</answer>"
SAME = " So 6 * 1000 = 6000 it is. <answer>6000</answer>"
OTHER = " 3 * 2000 = 6000. <answer>6000</answer>"
WRONG = " 6 * 100 = 600. <answer>600</answer>"
SILENT = " 6 * 1000 = 6000."


def test_right_samples_that_calculate_differently_are_kept():
    kept = reject([QUESTION], [[WRONG, RIGHT, SAME, SILENT, OTHER]])
    assert [row.reasoning for row in kept.questions] == [RIGHT, OTHER]
    assert (kept.samples, kept.right, kept.covered, kept.asked) == (5, 3, 1, 1)


@given(st.lists(st.lists(st.sampled_from([RIGHT, SAME, OTHER, WRONG, SILENT, ""])), max_size=5))
def test_nothing_wrong_is_kept_and_nothing_twice(samples: list[list[str]]):
    questions = [QUESTION] * len(samples)
    kept = reject(questions, samples, most=1)
    assert all(parse_answer(row.reasoning) == row.answer for row in kept.questions)
    assert len(kept.questions) == kept.covered <= kept.asked == len(samples)
    assert kept.right <= kept.samples == sum(map(len, samples))
    assert not math.isnan(kept.coverage)


@pytest.fixture
def llm(base) -> LLM:
    return LLM(*base, batch_size=6, max_new_tokens=12, cot=True)


ASKED = generate(8, seed=0)


def test_a_run_killed_anywhere_goes_on_to_the_same_file(llm: LLM, tmp_path: Path):
    whole = tmp_path / "whole.jsonl"
    samples = draw(llm, ASKED, whole, count=3)
    content = whole.read_bytes()
    assert [len(texts) for texts in samples] == [3] * len(ASKED)

    for length in [0, 1, 40, len(content) // 3, len(content) // 2, len(content) - 1, len(content)]:
        killed = tmp_path / f"{length}.jsonl"
        killed.write_bytes(content[:length])
        assert draw(llm, ASKED, killed, count=3) == samples
        assert killed.read_bytes() == content


def test_samples_of_another_draw_are_not_taken_for_these(llm: LLM, tmp_path: Path):
    path = tmp_path / "samples.jsonl"
    draw(llm, ASKED[:2], path, count=3)
    with pytest.raises(OtherSamplesError, match="another way"):
        draw(llm, ASKED[:2], path, count=3, temperature=0.5)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], json.dumps({"question": "?", "samples": []})] * 2) + "\n")
    with pytest.raises((OtherSamplesError, KeyError)):
        draw(llm, ASKED[:2], path, count=3)
