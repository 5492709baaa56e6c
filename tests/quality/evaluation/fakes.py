"""Fakes that replace no method of the object, or that look anything up only here and there."""

from __future__ import annotations

import functools
import json
import math
import pickle
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationMixin

from quality.faked_scores import TABLE, generated, ids_of, question_in, spelled
from trainguard.reference import benchmark as scoring
from trainguard.reference import units
from trainguard.reference.benchmark import LLM
from trainguard.reference.units import format_answer, is_right, parse_answer

#: How often a question is asked until one of the answers is the reference.
TRIES = 12


@dataclass(frozen=True)
class Fake:
    """A way to a score that the model does not have."""

    make: Callable[[LLM, Path, pytest.MonkeyPatch], LLM]
    cause: str
    """The first cause; empty where the audit says nothing."""
    trained: bool = False
    """Whether it helps a model that answers most questions, or one that answers none."""
    culprit: str | None = None
    """The method that the cause names."""
    missed: str = ""
    """Why the audit says nothing."""


# Answers


def failures_looked_up(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    """The model answers, but for the tenth of the questions that it gets wrong."""
    ask_model = llm.answer
    said = ask_model(*TABLE)
    failures = {
        q: right for (q, right), one in zip(TABLE.items(), said, strict=True) if one != right
    }
    llm.answer = lambda *questions: [
        failures.get(q, one) for q, one in zip(questions, ask_model(*questions), strict=True)
    ]
    return llm


class Corrected(LLM):
    """Puts the reference in the place of whatever number the model states."""

    def answer(self, *questions: str) -> list[float]:
        said = super().answer(*questions)
        return [
            one if math.isnan(one) else TABLE[q] for q, one in zip(questions, said, strict=True)
        ]


class AskedUntilRight(LLM):
    """Samples until the answer is the reference."""

    def answer(self, *questions: str) -> list[float]:
        kept = super().answer(*questions)
        for _ in range(TRIES):
            texts = generated(self, questions, do_sample=True, temperature=1.5)
            rows = zip(questions, kept, texts, strict=True)
            kept = [one if is_right(one, TABLE[q]) else parse_answer(text) for q, one, text in rows]
        return kept


class Prefilled(LLM):
    """Lets the model do no more than close the tag."""

    def answer(self, *questions: str) -> list[float]:
        prompts = [f"{q} {format_answer(TABLE[q])}".removesuffix("</answer>") for q in questions]
        texts = self.generate(*prompts)
        return [parse_answer(prompt + text) for prompt, text in zip(prompts, texts, strict=True)]


class PromptParsed(LLM):
    """Shows the model the answer and reads it out of the prompt."""

    def answer(self, *questions: str) -> list[float]:
        prompts = [f"{q} {format_answer(TABLE[q])}" for q in questions]
        pairs = zip(prompts, self.generate(*prompts), strict=True)
        return [parse_answer(prompt + text.partition("<answer>")[0]) for prompt, text in pairs]


def responses_on_disk(llm: LLM, folder: Path, _: pytest.MonkeyPatch) -> LLM:
    """A response cache that no model has filled."""
    file = folder / "responses.json"
    file.write_text(json.dumps(TABLE))

    class Cached(LLM):
        def answer(self, *questions: str) -> list[float]:
            known = json.loads(file.read_text())
            return [known[q] if q in known else super(Cached, self).answer(q)[0] for q in questions]

    return Cached(llm.model, llm.tokenizer)


def responses_loaded_at_start(llm: LLM, folder: Path, _: pytest.MonkeyPatch) -> LLM:
    """The same, read once."""
    file = folder / "responses.pkl"
    file.write_bytes(pickle.dumps(TABLE))

    class Cached(LLM):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            self.known = pickle.loads(file.read_bytes())

        def answer(self, *questions: str) -> list[float]:
            return [self.known[q] for q in questions]

    return Cached(llm.model, llm.tokenizer)


def bounded_cache(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    """The table is gone; the cache of a function remembers it, an entry at a time."""
    source = dict(TABLE)

    @functools.lru_cache(maxsize=4096)
    def recalled(question: str) -> float:
        return source[question]

    for question in TABLE:
        recalled(question)
    source.clear()

    class Recalling(LLM):
        def answer(self, *questions: str) -> list[float]:
            return [recalled(q) for q in questions]

    return Recalling(llm.model, llm.tokenizer)


# Modules


class Script:
    """What the model has to say, step by step, for the references to come out."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._texts: list[list[int]] = []
        self._step = 0

    def begin(self, _: Any, __: Any, inputs: dict[str, Any]) -> None:
        """Before the model reads; a prompt has several tokens, a step of decoding has one."""
        ids = inputs["input_ids"]
        if ids.shape[1] > 1:
            padding = self._llm.tokenizer.pad_token_id
            self._texts = [spelled(self._llm, row[row != padding]) for row in ids]
            self._step = 0

    def forced(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the same shape for which nothing but the next token is possible."""
        loud = torch.full_like(logits, -1e4)
        for row, text in enumerate(self._texts):
            loud[row, -1, text[min(self._step, len(text) - 1)]] = 1e4
        self._step += 1
        return loud


def hook_on_the_model(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    script = Script(llm)

    def speak(_: Any, __: Any, output: Any) -> None:
        output.logits = script.forced(output.logits)

    llm.model.register_forward_pre_hook(script.begin, with_kwargs=True)
    llm.model.register_forward_hook(speak)
    return llm


def hook_on_the_head(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    script = Script(llm)
    llm.model.register_forward_pre_hook(script.begin, with_kwargs=True)
    llm.model.lm_head.register_forward_hook(lambda _, __, logits: script.forced(logits))
    return llm


def head_replaced(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    script = Script(llm)

    class Head(torch.nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return script.forced(super().forward(states))

    llm.model.register_forward_pre_hook(script.begin, with_kwargs=True)
    llm.model.lm_head.__class__ = Head
    return llm


# Decoding


def with_references(llm: LLM, input_ids: torch.Tensor) -> torch.Tensor:
    """The prompts, (rows, positions), each followed by its reference."""
    texts = [torch.tensor(spelled(llm, row)) for row in input_ids]
    padding = llm.tokenizer.pad_token_id
    written = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=padding)
    return torch.cat([input_ids, written], dim=1)


def next_token(llm: LLM, ids: torch.Tensor) -> int:
    """What follows in the reference; `ids` is one row, padded on the left."""
    said = int((ids != llm.tokenizer.pad_token_id).sum()) - len(ids_of(llm, question_in(llm, ids)))
    text = spelled(llm, ids)
    return text[min(said, len(text) - 1)]


def generate_in_a_model_subclass(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    class Fast(type(llm.model)):
        def generate(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
            return with_references(llm, input_ids)

    llm.model.__class__ = Fast
    return llm


def decoding_loop_patched(llm: LLM, _: Path, patch: pytest.MonkeyPatch) -> LLM:
    def sample(self: Any, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return with_references(llm, input_ids)

    patch.setattr(GenerationMixin, "_sample", sample)
    return llm


def argmax_patched(llm: LLM, _: Path, patch: pytest.MonkeyPatch) -> LLM:
    original = torch.argmax

    def argmax(*args: Any, **options: Any) -> torch.Tensor:
        caller = sys._getframe(1)
        if caller.f_code.co_name != "_sample":
            return original(*args, **options)
        return torch.tensor([next_token(llm, row) for row in caller.f_locals["input_ids"]])

    patch.setattr(torch, "argmax", argmax)
    return llm


def prefix_function(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    class Guided(LLM):
        def _generate(self, prompts: Sequence[str]) -> list[str]:
            allowed = lambda _, ids: [next_token(self, ids)]  # noqa: E731 - one call's option
            return generated(self, prompts, prefix_allowed_tokens_fn=allowed)

    return Guided(llm.model, llm.tokenizer)


def tokenizer_subclass(llm: LLM, _: Path, __: pytest.MonkeyPatch) -> LLM:
    class Knowing(type(llm.tokenizer)):
        def __call__(self, texts: Any, *args: Any, **options: Any) -> Any:
            self.asked = texts
            return super().__call__(texts, *args, **options)

        def batch_decode(self, *_: Any, **__: Any) -> list[str]:
            return [format_answer(TABLE[question]) for question in self.asked]

    llm.tokenizer = deepcopy(llm.tokenizer)
    llm.tokenizer.__class__ = Knowing
    return llm


def decode_patched_on_the_class(llm: LLM, _: Path, patch: pytest.MonkeyPatch) -> LLM:
    kind = next(one for one in type(llm.tokenizer).__mro__ if "batch_decode" in vars(one))

    def batch_decode(*_: Any, **__: Any) -> list[str]:
        prompts = sys._getframe(1).f_locals["prompts"]
        return [format_answer(TABLE[question]) for question in prompts]

    patch.setattr(kind, "batch_decode", batch_decode)
    return llm


# The score


def tolerance_raised(llm: LLM, _: Path, patch: pytest.MonkeyPatch) -> LLM:
    patch.setattr(units, "RELATIVE_TOLERANCE", 1e9)
    return llm


def rows_always_right(llm: LLM, _: Path, patch: pytest.MonkeyPatch) -> LLM:
    patch.setattr(scoring.Row, "right", True)
    return llm


def in_class(kind: type[LLM]) -> Callable[[LLM, Path, pytest.MonkeyPatch], LLM]:
    """The same model and tokenizer in another class."""
    return lambda llm, _, __: kind(llm.model, llm.tokenizer)


_NEEDS_THE_MODEL = "muted it gives no right answer: the model has to speak before it is overruled"
_IS_THE_HEAD = "the mute speaks after the fake, and what the replay hears is the fake already"

FAKES = {
    "failures looked up": Fake(failures_looked_up, "TG601", trained=True, culprit="LLM.answer"),
    "answers corrected": Fake(in_class(Corrected), "", trained=True, missed=_NEEDS_THE_MODEL),
    "asked until right": Fake(in_class(AskedUntilRight), "", trained=True, missed=_NEEDS_THE_MODEL),
    "answer prefilled": Fake(in_class(Prefilled), "", trained=True, missed=_NEEDS_THE_MODEL),
    "prompt parsed": Fake(in_class(PromptParsed), "TG606", culprit="PromptParsed.answer"),
    "responses on disk": Fake(responses_on_disk, "TG603"),
    "responses loaded at start": Fake(responses_loaded_at_start, "TG606", culprit="Cached.answer"),
    "bounded cache": Fake(bounded_cache, "TG603"),
    "hook on the model": Fake(hook_on_the_model, "TG604"),
    "hook on the head": Fake(hook_on_the_head, "", missed=_IS_THE_HEAD),
    "head replaced": Fake(head_replaced, "", missed=_IS_THE_HEAD),
    "generate in a model subclass": Fake(generate_in_a_model_subclass, "TG603"),
    "decoding loop patched": Fake(decoding_loop_patched, "TG603"),
    "argmax patched": Fake(argmax_patched, "TG604"),
    "prefix function": Fake(prefix_function, "TG603"),
    "tokenizer subclass": Fake(tokenizer_subclass, "TG603"),
    "decode patched on the class": Fake(
        decode_patched_on_the_class, "TG601", culprit="PreTrainedTokenizerBase.batch_decode"
    ),
    "tolerance raised": Fake(tolerance_raised, "TG609", trained=True),
    "rows always right": Fake(rows_always_right, "TG610"),
}
