import math

import pytest
import torch

from trainguard.facts.evaluation_score import wilson
from trainguard.reference.benchmark import LLM, BenchmarkResult, Row, benchmark
from trainguard.reference.units import Question, generate


class Answering:
    """An LLM that gives the answers it was made with, and records what it was asked."""

    def __init__(self, *answers):
        self.answers = answers
        self.asked = []

    def answer(self, *questions):
        self.asked.extend(questions)
        return list(self.answers)


QUESTIONS = [Question(f"question {n}", 100.0) for n in range(4)]


def test_accuracy_and_answer_rate_are_shares_of_all_questions():
    result = benchmark(Answering(104.0, 106.0, math.nan, None), QUESTIONS)
    assert (result.accuracy, result.answer_rate, result.count) == (0.25, 0.5, 4)
    assert [row.right for row in result.rows] == [True, False, False, False]
    assert [row.answered for row in result.rows] == [True, True, False, False]


def test_no_more_than_the_limit_is_asked():
    llm = Answering(100.0, 100.0)
    result = benchmark(llm, QUESTIONS, limit=2)
    assert llm.asked == ["question 0", "question 1"]
    assert (result.accuracy, result.count) == (1.0, 2)


def test_a_missing_answer_is_an_error_not_a_smaller_count():
    with pytest.raises(ValueError, match="shorter"):
        benchmark(Answering(100.0), QUESTIONS)


@pytest.mark.parametrize(("questions", "limit"), [([], 100), (QUESTIONS, 0)])
def test_nothing_to_ask_has_no_score(questions, limit):
    with pytest.raises(ValueError, match="no question"):
        benchmark(Answering(), questions, limit=limit)


def test_a_result_prints_its_figures():
    result = BenchmarkResult(0.42, 1.0, 100, (Row(QUESTIONS[0], 100.0),))
    assert result.interval == wilson(1, 100)
    assert str(result) == "accuracy=0.42 [0.00, 0.05] answer_rate=1.00 (n=100)"


def test_a_benchmark_goes_through_the_answer_method_of_the_object(base):
    llm = LLM(*base)
    llm.answer = lambda *questions: [100.0] * len(questions)
    assert benchmark(llm, QUESTIONS).accuracy == 1.0


def test_batched_generation_equals_one_by_one(base):
    llm = LLM(*base, batch_size=7)
    prompts = [question.text for question in generate(20, seed=0)]
    assert len({len(llm.tokenizer.encode(prompt)) for prompt in prompts}) > 1
    together = llm.generate(*prompts)
    assert together == [llm.generate(prompt)[0] for prompt in prompts]
    assert len(set(together)) > 5


def test_generation_leaves_no_trace(base):
    llm = LLM(*base)
    llm.model.train()
    llm.model.lm_head.eval()
    modes = [module.training for module in llm.model.modules()]
    state = torch.get_rng_state()
    llm.generate("Convert 6 kg to gram.")
    assert [module.training for module in llm.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert llm.tokenizer.padding_side == "right"


def test_generation_is_in_evaluation_mode_and_without_gradients(base):
    llm = LLM(*base)
    llm.model.train()
    seen = set()
    llm.model.lm_head.register_forward_hook(
        lambda module, *_: seen.add((module.training, torch.is_grad_enabled()))
    )
    llm.generate("Convert 6 kg to gram.")
    assert seen == {(False, False)}


def test_the_base_states_an_answer_only_where_it_is_told_to(base):
    questions = [question.text for question in generate(10, seed=1)]
    assert all(math.isnan(answer) for answer in LLM(*base).answer(*questions))
    thinking = LLM(*base, cot=True)
    assert sum(not math.isnan(answer) for answer in thinking.answer(*questions)) >= 8


def test_samples_differ_and_a_random_state_determines_them(base):
    llm = LLM(*base, cot=True)
    question = "Convert 6 kg to gram."

    def drawn(seed):
        torch.manual_seed(seed)
        return llm.sample(question, question, count=3, temperature=1.0)

    assert [len(texts) for texts in drawn(0)] == [3, 3]
    assert drawn(0) == drawn(0) != drawn(1)
    assert len({text for texts in drawn(0) for text in texts}) > 1


@pytest.mark.parametrize(("count", "temperature"), [(0, 1.0), (2, 0.0), (2, math.nan)])
def test_what_cannot_be_drawn_is_refused(count, temperature):
    with pytest.raises(ValueError, match="cannot draw"):
        LLM(None, None).sample("question", count=count, temperature=temperature)


def test_the_wrong_answers_are_a_table():
    rows = tuple(Row(q, a) for q, a in zip(QUESTIONS, (100.0, 7.5, math.nan, None), strict=True))
    lines = BenchmarkResult(0.25, 0.5, 4, rows).wrong().splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["question", "1", "100", "7.5"],
        ["question", "2", "100", "none"],
        ["question", "3", "100", "none"],
    ]


def test_no_prompt_has_no_completion(base):
    assert LLM(*base).generate() == []


def test_an_empty_prompt_is_refused(base):
    with pytest.raises(ValueError, match="empty prompt"):
        LLM(*base).generate("Convert 6 kg to gram.", "")
