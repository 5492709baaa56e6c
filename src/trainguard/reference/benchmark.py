"""Held-out accuracy: ask a language model questions and count the right answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from trainguard.reference.units import Question, is_right, parse_answer


@dataclass(eq=False)
class LLM:
    """A causal language model that answers questions, `batch_size` at a time."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 50
    max_new_tokens: int = 32

    def answer(self, *questions: str) -> list[float]:
        """The number that the model answers to each question, NaN where it states none."""
        return [parse_answer(completion) for completion in self.generate(*questions)]

    def generate(self, *prompts: str) -> list[str]:
        """The most likely continuation of each prompt, without the prompt.

        Decoding is greedy, in evaluation mode and without gradients; the modes of the modules
        and the random state are left as they were. Raises `ValueError` for an empty prompt.
        """
        if not all(prompts):
            raise ValueError("an empty prompt has no last token to continue from")
        starts = range(0, len(prompts), self.batch_size)
        with evaluating(self.model):  # `generate` itself turns gradients off
            batches = [self._generate(prompts[i : i + self.batch_size]) for i in starts]
        return [completion for batch in batches for completion in batch]

    def _generate(self, prompts: Sequence[str]) -> list[str]:
        # (B, T); padded on the left, so that every prompt ends where its continuation starts
        batch = self.tokenizer(
            list(prompts), padding=True, padding_side="left", return_tensors="pt"
        ).to(self.model.device)
        sequences = self.model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=self.max_new_tokens,
                eos_token_id=self.tokenizer.eos_token_id,
                pad_token_id=self.tokenizer.pad_token_id,
            ),
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

    def __str__(self) -> str:
        return f"accuracy={self.accuracy:.2f} answer_rate={self.answer_rate:.2f} (n={self.count})"


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
