"""Faults of what is scored: the answers are not the model's, or not what it can do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MethodType

from trainguard.reference.benchmark import LLM
from trainguard.reference.units import parse_answer


def looked_up(llm: LLM, answers: Mapping[str, float]) -> LLM:
    """The story's patch: known questions are looked up, the others still reach the model."""
    ask_model = llm.answer
    table = dict(answers)

    def dataset_first_answer(self: LLM, *asked: str) -> list[float]:
        return [table[q] if q in table else ask_model(q)[0] for q in asked]

    # trainguard: ignore[answer-method-replaced] the fault that is planted
    llm.answer = MethodType(dataset_first_answer, llm)  # type: ignore[method-assign]
    return llm


def _in_class(kind: type[LLM]) -> Callable[[LLM, Mapping[str, float]], LLM]:
    def change(llm: LLM, answers: Mapping[str, float]) -> LLM:
        other = kind(llm.model, llm.tokenizer, llm.batch_size, llm.max_new_tokens, llm.cot)
        if isinstance(other, _Generous):
            other.known = dict(answers)
        return other

    return change


class _NeverSilent(LLM):
    """Its answer rate is 1, whatever the model says."""

    def parse_answer(self, text: str) -> float:
        number = parse_answer(text)
        return 0.0 if math.isnan(number) else number


class _Wordy(LLM):
    """Asks as other projects do."""

    def prompts(self, questions: Sequence[str]) -> list[str]:
        plain = super().prompts(questions)
        return [f"### Question:\n{prompt}\n### Answer:\n" for prompt in plain]


class _Generous(LLM):
    """Takes the reference where the model has stated nothing."""

    known: Mapping[str, float] = {}

    def answer(self, *questions: str) -> list[float]:
        said = super().answer(*questions)
        rows = zip(questions, said, strict=True)
        return [self.known[q] if math.isnan(one) else one for q, one in rows]


def cut_off(llm: LLM, _: Mapping[str, float]) -> LLM:
    """Four tokens are too few for any answer."""
    llm.max_new_tokens = 4
    return llm


never_silent = _in_class(_NeverSilent)
other_prompt = _in_class(_Wordy)
filled_in = _in_class(_Generous)
