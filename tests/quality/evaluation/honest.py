"""Honest set-ups that change how a model is wrapped, asked or listened to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import accelerate
import torch
from transformers import StoppingCriteria, TextStreamer, pipeline

from quality.faked_scores import TABLE, VALID, generated, ids_of, untrained, with_options
from trainguard import allow_override
from trainguard.reference.benchmark import LLM
from trainguard.reference.units import format_answer, is_right, parse_answer


def in_class(kind: type[LLM]) -> Callable[[LLM], LLM]:
    """The same model and tokenizer in another class."""
    return lambda llm: kind(llm.model, llm.tokenizer)


# The model


def autocast(llm: LLM) -> LLM:
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    return LLM(accelerator.prepare(llm.model), llm.tokenizer)


def dispatched(llm: LLM) -> LLM:
    model = llm.model.merge_and_unload()
    accelerate.dispatch_model(model, device_map={"": "cpu"}, force_hooks=True)
    return LLM(model, llm.tokenizer)


def compiled(llm: LLM) -> LLM:
    return LLM(torch.compile(llm.model, backend="eager"), llm.tokenizer)


def bfloat16(llm: LLM) -> LLM:
    return LLM(llm.model.to(torch.bfloat16), llm.tokenizer)


def head_in_float32(llm: LLM) -> LLM:
    """As GRPO casts the logits of a model in half precision."""
    head = llm.model.to(torch.bfloat16).get_output_embeddings()
    original = head.forward
    head.forward = lambda states: original(states).float()
    return llm


class Wrapper(torch.nn.Module):
    """The shape of DataParallel, with a `generate` that passes on."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.device = module.device

    def generate(self, **inputs: Any) -> Any:
        return self.module.generate(**inputs)


def wrapped(llm: LLM) -> LLM:
    return LLM(Wrapper(llm.model), llm.tokenizer)


def observed_head(llm: LLM) -> LLM:
    shapes = []
    llm.model.get_output_embeddings().register_forward_hook(
        lambda _, __, logits: shapes.append(logits.shape)
    )
    return llm


def soft_capped_head(llm: LLM) -> LLM:
    llm.model.get_output_embeddings().register_forward_hook(
        lambda _, __, logits: 30 * torch.tanh(logits / 30)
    )
    return llm


# Asking


class BaseAskedToo(LLM):
    """Compares with the base model on the way."""

    def answer(self, *questions: str) -> list[float]:
        with self.model.disable_adapter():
            self.before = super().answer(*questions)
        return super().answer(*questions)


def chat_template(llm: LLM) -> LLM:
    class Chat(LLM):
        def generate(self, *prompts: str) -> list[str]:
            chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
            return super().generate(*self.tokenizer.apply_chat_template(chats, tokenize=False))

    tokenizer = deepcopy(llm.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return Chat(llm.model, tokenizer)


class TagInThePrompt(LLM):
    """The prompt opens the tag; the parser is given it back."""

    def generate(self, *prompts: str) -> list[str]:
        texts = super().generate(*(f"{prompt} <answer>" for prompt in prompts))
        return [f"<answer>{text}" for text in texts]


def text_generation_pipeline(llm: LLM) -> Any:
    generate = pipeline(
        "text-generation", model=llm.model.merge_and_unload(), tokenizer=llm.tokenizer, device="cpu"
    )

    class Pipeline:
        def __init__(self) -> None:
            self.pipe = generate

        def answer(self, *questions: str) -> list[float]:
            options = {"return_full_text": False, "max_new_tokens": 32, "do_sample": False}
            rows = self.pipe(list(questions), **options)
            return [parse_answer(row[0]["generated_text"]) for row in rows]

    return Pipeline()


class Voting(LLM):
    """The most frequent of five samples."""

    def answer(self, *questions: str) -> list[float]:
        sampled = [generated(self, questions, do_sample=True, temperature=0.7) for _ in range(5)]
        votes = [Counter(map(parse_answer, texts)) for texts in zip(*sampled, strict=True)]
        return [vote.most_common(1)[0][0] for vote in votes]


class AskedAgain(LLM):
    """Samples where greedy decoding gives no number."""

    def answer(self, *questions: str) -> list[float]:
        said = super().answer(*questions)
        return [
            one if one == one else parse_answer(generated(self, [q], do_sample=True)[0])
            for q, one in zip(questions, said, strict=True)
        ]


class Reranking(LLM):
    """The beam that the model finds likeliest once it is written as an answer."""

    def answer(self, *questions: str) -> list[float]:
        return [self._best(question) for question in questions]

    def _best(self, question: str) -> float:
        texts = generated(self, [question], num_beams=3, num_return_sequences=3)
        stated = [one for one in map(parse_answer, texts) if one == one]
        return min(stated, key=lambda one: self._loss(question, one), default=float("nan"))

    @torch.no_grad()
    def _loss(self, question: str, answer: float) -> float:
        ids = torch.tensor([ids_of(self, f"{question} {format_answer(answer)}")])
        return float(self.model(input_ids=ids, labels=ids).loss)


# Decoding


class OwnLoop(LLM):
    """Greedy decoding without `generate`."""

    def _generate(self, prompts: Sequence[str]) -> list[str]:
        return [self._continued(torch.tensor([ids_of(self, prompt)])) for prompt in prompts]

    @torch.no_grad()
    def _continued(self, ids: torch.Tensor) -> str:
        start = ids.shape[1]
        while ids.shape[1] < start + 32 and ids[0, -1] != self.tokenizer.eos_token_id:
            token = self.model(input_ids=ids).logits[:, -1].argmax(dim=-1, keepdim=True)
            ids = torch.cat([ids, token], dim=1)
        return self.tokenizer.decode(ids[0, start:], skip_special_tokens=True)


def assisted(llm: LLM) -> LLM:
    assistant = untrained(llm).model

    class Assisted(LLM):
        def _generate(self, prompts: Sequence[str]) -> list[str]:
            return [generated(self, [p], assistant_model=assistant)[0] for p in prompts]

    return Assisted(llm.model, llm.tokenizer)


class Silent(TextStreamer):
    """Takes the text as it grows and shows nothing."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Show nothing."""


class Streaming(LLM):
    """One prompt at a time, streamed."""

    def _generate(self, prompts: Sequence[str]) -> list[str]:
        return [generated(self, [p], streamer=Silent(self.tokenizer))[0] for p in prompts]


class ClosedTag(StoppingCriteria):
    """Ends a text as soon as it has an answer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        texts = self.tokenizer.batch_decode(input_ids)
        return torch.tensor(["</answer>" in text for text in texts])


def stopping_criterion(llm: LLM) -> LLM:
    return with_options(stopping_criteria=[ClosedTag(llm.tokenizer)])(llm)


def stop_strings(llm: LLM) -> LLM:
    return with_options(stop_strings=["</answer>"], tokenizer=llm.tokenizer)(llm)


def stop_strings_sampled(llm: LLM) -> LLM:
    options = {"stop_strings": ["</answer>"], "tokenizer": llm.tokenizer, "do_sample": True}
    return with_options(**options)(llm)


def time_limit(llm: LLM) -> LLM:
    return with_options(max_time=60.0)(llm)


# Beside the answers


def mistakes_noted(llm: LLM) -> LLM:
    """The references are in reach, for an analysis of errors."""

    class Noting(LLM):
        def answer(self, *questions: str) -> list[float]:
            said = super().answer(*questions)
            rows = zip(questions, said, strict=True)
            self.mistakes = [(q, one) for q, one in rows if not is_right(one, TABLE[q])]
            return said

    return Noting(llm.model, llm.tokenizer)


class HoldsTheData(LLM):
    """Carries the rows that it is to be scored on."""

    rows = VALID
    references = TABLE


def declared_response_cache(llm: LLM) -> LLM:
    """Answers of the same model, kept by an earlier run."""
    kept = dict(zip(TABLE, llm.answer(*TABLE), strict=True))

    class Cached(LLM):
        @allow_override("answers that this model gave in an earlier run are kept")
        def answer(self, *questions: str) -> list[float]:
            return [kept[q] for q in questions]

    return Cached(llm.model, llm.tokenizer)


HONEST: dict[str, Callable[[LLM], Any]] = {
    "autocast": autocast,
    "dispatched": dispatched,
    "compiled": compiled,
    "bfloat16": bfloat16,
    "head in float32": head_in_float32,
    "wrapped": wrapped,
    "observed head": observed_head,
    "soft-capped head": soft_capped_head,
    "base asked too": in_class(BaseAskedToo),
    "chat template": chat_template,
    "tag in the prompt": in_class(TagInThePrompt),
    "text-generation pipeline": text_generation_pipeline,
    "voting": in_class(Voting),
    "asked again": in_class(AskedAgain),
    "reranking": in_class(Reranking),
    "own loop": in_class(OwnLoop),
    "assisted": assisted,
    "streaming": in_class(Streaming),
    "stopping criterion": stopping_criterion,
    "stop strings": stop_strings,
    "stop strings, sampled": stop_strings_sampled,
    "time limit": time_limit,
    "mistakes noted": mistakes_noted,
    "holds the data": in_class(HoldsTheData),
    "declared response cache": declared_response_cache,
}
