"""Held-out accuracy: ask a language model questions and count the right answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from trainguard.facts.evaluation_score import wilson
from trainguard.reference.prompts import END_OF_ANSWER, cot_prompt, direct_prompt, tokenized
from trainguard.reference.units import Question, format_number, is_right, parse_answer


@dataclass(eq=False)
class LLM:
    """A causal language model that answers questions, `batch_size` at a time."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 50
    max_new_tokens: int = 64
    cot: bool = False
    """Whether a worked example stands before each question (chain of thought)."""

    def answer(self, *questions: str) -> list[float]:
        """The number that the model answers to each question, NaN where it states none."""
        return [self.parse_answer(text) for text in self.generate(*self.prompts(questions))]

    def parse_answer(self, text: str) -> float:
        """The number that a continuation states, NaN if it states none."""
        return parse_answer(text)

    def prompts(self, questions: Sequence[str]) -> list[str]:
        """The text that the model is to continue, for each question."""
        prompt = cot_prompt if self.cot else direct_prompt
        return [prompt(question, self.tokenizer) for question in questions]

    def sample(self, *questions: str, count: int, temperature: float = 0.8) -> list[list[str]]:
        """For each question, `count` continuations drawn from the model.

        They are drawn from the global random state. Raises `ValueError` if `count` is below 1 or
        the temperature is not above 0.
        """
        if count < 1 or not temperature > 0:
            raise ValueError(f"cannot draw {count} samples at temperature {temperature}")
        prompts = self.prompts(questions)
        drawn = {
            "do_sample": True,
            "temperature": temperature,
            "top_k": 0,  # the model's own distribution: transformers would keep 50 tokens
            "num_return_sequences": count,
        }
        with evaluating(self.model):
            texts = self._generate(prompts, **drawn)
        return [texts[i : i + count] for i in range(0, len(texts), count)]

    def generate(self, *prompts: str) -> list[str]:
        """The most likely continuation of each prompt, without the prompt.

        Decoding is greedy, in evaluation mode and without gradients; the modes of the modules
        and the random state are left as they were. Raises `ValueError` for an empty prompt.
        """
        if not all(prompts):
            raise ValueError("an empty prompt has no last token to continue from")
        starts = range(0, len(prompts), self.batch_size)
        # `disable=None`: a bar on a terminal only
        bar = tqdm(starts, desc="answers", leave=False, disable=None if len(starts) > 1 else True)
        with evaluating(self.model):  # `generate` itself turns gradients off
            batches = [self._generate(prompts[i : i + self.batch_size]) for i in bar]
        return [completion for batch in batches for completion in batch]

    def _generate(self, prompts: Sequence[str], **decoding: Any) -> list[str]:
        # (B, T); padded on the left, so that every prompt ends where its continuation starts
        batch = tokenized(
            prompts, self.tokenizer, padding=True, padding_side="left", return_tensors="pt"
        ).to(self.model.device)
        if self.cot:  # a base model goes on with a question of its own
            decoding["stop_strings"] = [END_OF_ANSWER]
        sequences = self.model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            generation_config=GenerationConfig(
                **{"do_sample": False, **decoding},
                max_new_tokens=self.max_new_tokens,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            ),
            tokenizer=self.tokenizer,  # it spells the stop strings
        )
        continuations = sequences[:, batch["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(continuations, skip_special_tokens=True)
        return texts


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put every module of `model` in evaluation mode, and each back in its own mode after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Row:
    """A question and what was answered to it; NaN or `None` stands for no answer."""

    question: Question
    answer: float | None

    @property
    def answered(self) -> bool:
        """Whether there is an answer, right or wrong."""
        return self.answer is not None and not math.isnan(self.answer)

    @property
    def right(self) -> bool:
        """Whether the answer is right within the tolerance of the task."""
        return is_right(self.answer, self.question.answer)


@dataclass(frozen=True)
class BenchmarkResult:
    """The score of a benchmark: `accuracy` and `answer_rate` are shares of all `count` questions.

    A question without an answer counts as wrong.
    """

    accuracy: float
    answer_rate: float
    count: int
    rows: tuple[Row, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson 1927)."""
        return wilson(sum(row.right for row in self.rows), self.count)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"accuracy={self.accuracy:.2f} [{low:.2f}, {high:.2f}] "
            f"answer_rate={self.answer_rate:.2f} (n={self.count})"
        )

    def wrong(self) -> str:
        """The wrong answers as a table: question, expected, answered."""
        lines = [
            f"{row.question.text:<64}  {format_number(row.question.answer):>10}  {_said(row):>10}"
            for row in self.rows
            if not row.right
        ]
        return "\n".join([f"{'question':<64}  {'expected':>10}  {'answered':>10}", *lines]) + "\n"


def _said(row: Row) -> str:
    return format_number(row.answer) if row.answered and row.answer is not None else "none"


def benchmark(llm: LLM, questions: Sequence[Question], limit: int = 100) -> BenchmarkResult:
    """Ask `llm` the first `limit` questions through `llm.answer` and score its answers.

    Raises `ValueError` if there is no question to ask, or if the answers are not as many as the
    questions.
    """
    asked = questions[:limit]
    if not asked:
        raise ValueError("there is no question to ask")
    answers = llm.answer(*(question.text for question in asked))
    rows = tuple(Row(*pair) for pair in zip(asked, answers, strict=True))
    return BenchmarkResult(
        accuracy=sum(row.right for row in rows) / len(rows),
        answer_rate=sum(row.answered for row in rows) / len(rows),
        count=len(rows),
        rows=rows,
    )
