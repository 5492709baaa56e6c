"""Tokens against the head: honest decoding agrees, whatever its settings; forced tokens do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationMixin, LogitsProcessor, StoppingCriteria

from trainguard.gather.evaluation_models import find_models
from trainguard.gather.evaluation_replay import EXPONENTS, Replay

import tiny

ALPHA = 1e-6
LIMIT = 13.8
ROWS, PROMPT, NEW = 6, 5, 12


def model(sharpness: float = 8) -> Any:
    built = tiny.model().eval()
    with torch.no_grad():
        for weight in built.parameters():
            weight.mul_(sharpness if weight.ndim > 1 else 1)
    return built


def replayed(built: Any, **options: Any) -> Replay:
    ids = torch.arange(4, 4 + ROWS * PROMPT).reshape(ROWS, PROMPT)
    options = {"max_new_tokens": NEW, "pad_token_id": 0, **options}
    with Replay(find_models(built)) as replay:
        built.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    return replay


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"return_dict_in_generate": True},
        {"num_return_sequences": 1, "max_new_tokens": 1},
    ],
    ids=str,
)
def test_greedy_tokens_are_the_choice_of_the_head(options: dict[str, Any]) -> None:
    facts = replayed(model(), do_sample=False, **options).facts()

    assert facts is not None
    assert facts.decoding == "greedy"
    assert facts.differing == 0
    assert 0 < facts.tokens <= ROWS * options.get("max_new_tokens", NEW)


def test_tokens_after_the_end_of_a_text_do_not_count() -> None:
    built = model()
    with torch.no_grad():  # every text ends at once
        built.lm_head.weight.zero_()
    facts = replayed(built, do_sample=False, eos_token_id=0).facts()

    assert facts is not None
    assert facts.tokens == ROWS


@pytest.mark.parametrize("sharpness", [1, 8])
@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"top_k": 5},
        {"top_k": 0, "top_p": 0.7},
        {"top_k": 0, "min_p": 0.1},
        {"top_k": 0, "temperature": 0.6},
        {"top_k": 0, "temperature": 1.7},
    ],
    ids=str,
)
def test_an_honest_sampler_is_never_surprising(options: dict[str, Any], sharpness: int) -> None:
    torch.manual_seed(0)
    facts = replayed(model(sharpness), do_sample=True, **options).facts()

    assert facts is not None
    assert facts.decoding == "sampling"
    assert facts.surprise < LIMIT


class Forced(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        wanted = (input_ids.sum(dim=1) * 7) % scores.shape[1]
        scores = torch.full_like(scores, -1e4)
        scores[range(len(wanted)), wanted] = 1e4
        return scores


def test_forced_greedy_tokens_differ_and_the_processor_is_named() -> None:
    facts = replayed(model(), do_sample=False, logits_processor=[Forced()]).facts()

    assert facts is not None
    assert facts.differing > facts.tokens / 2
    assert facts.processors[0].startswith("Forced (")
    assert "test_evaluation_replay.py" in facts.processors[0]


def test_forced_sampled_tokens_are_surprising() -> None:
    facts = replayed(model(), do_sample=True, logits_processor=[Forced()]).facts()

    assert facts is not None
    assert facts.surprise > LIMIT


def test_a_criterion_that_writes_tokens_is_seen() -> None:
    class Writer(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            input_ids[:, -1] = (input_ids[:, -2] * 5 + 1) % 60
            return torch.zeros(len(input_ids), dtype=torch.bool)

    facts = replayed(model(), do_sample=False, stopping_criteria=[Writer()]).facts()

    assert facts is not None
    assert facts.differing > facts.tokens / 2


def test_logits_exchanged_after_the_head_are_seen() -> None:
    built = model()
    forward = built.forward

    def exchanged(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits.roll(1, dims=-1)
        return output

    built.forward = exchanged
    facts = replayed(built, do_sample=False).facts()

    assert facts is not None
    assert facts.differing == facts.tokens


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_beams": 3}, "num_beams=3"),
        ({"repetition_penalty": 1.3}, "repetition_penalty=1.3"),
        ({"prompt_lookup_num_tokens": 2, "rows": 1}, "prompt_lookup_num_tokens"),
        ({"min_new_tokens": 4}, "min_new_tokens=4"),
    ],
)
def test_where_more_than_the_head_decides_nothing_is_compared(
    options: dict[str, Any], reason: str
) -> None:
    built = model()
    ids = torch.arange(4, 4 + PROMPT)[None].repeat(options.pop("rows", 2), 1)
    with Replay(find_models(built)) as replay:
        built.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW,
            do_sample=False,
            pad_token_id=0,
            **options,
        )

    assert replay.facts() is None
    assert reason in replay.unseen


def test_without_generate_there_is_nothing_to_compare() -> None:
    built = model()
    with Replay(find_models(built)) as replay:
        built(input_ids=torch.arange(4, 9)[None])

    assert replay.facts() is None
    assert "no call of transformers' generate" in replay.unseen
    assert not replay.heard


def test_everything_is_as_before() -> None:
    built, before = model(), GenerationMixin.generate
    replayed(built)

    assert GenerationMixin.generate is before
    assert not built.lm_head._forward_hooks
    assert not built.model.embed_tokens._forward_pre_hooks


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=9),
    st.integers(1, 9),
    st.sampled_from(EXPONENTS),
)
def test_the_e_value_of_one_token_has_expectation_one_at_most(
    logits: list[float], kept: int, exponent: float
) -> None:
    """Exactly one under the model, at most one if improbable tokens are cut off."""
    p = torch.tensor(logits, dtype=torch.float64).softmax(dim=0)
    e = p**-exponent / (p ** (1 - exponent)).sum()
    top = p.topk(min(kept, len(p))).indices
    cut = p[top] / p[top].sum()

    assert float((p * e).sum()) == pytest.approx(1)
    assert float((cut * e[top]).sum()) <= 1 + 1e-9
