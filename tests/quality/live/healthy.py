"""Healthy runs: the twin of every way, and the habits that look like a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from peft import LoraConfig
from torch.optim import SGD, AdamW

from . import models
from .faults import CHECKPOINTED, IDLE, ONSET, bfloat16_weights_at_a_low_rate, planted
from .ways import WAYS, Change, Way, accelerated, loop, trainer

#: The steps at which the first factors of a scaler are too high.
OVERFLOWING = (1, 2, 3)


@dataclass(frozen=True)
class Healthy:
    """A run without a fault."""

    way: Way
    change: Callable[[], Change]
    true: Mapping[str, int | None] = field(default_factory=dict)
    """Warnings that are right, by code, with their step."""


def gradient_checkpointing() -> Change:
    """The twin of a frozen adapter under checkpointing."""
    return Change(arguments=CHECKPOINTED)


def warmup_from_zero() -> Change:
    """The first step at a rate of 0: two steps without a gradient for half of an adapter."""
    return Change(factor=lambda step: (step - 1) / 6, steps=8)


def weight_decay_on_what_has_no_gradient() -> Change:
    """The first factors of an adapter shrink while their gradient is zero."""
    return Change(
        optimizer=None,
        arguments={"weight_decay": 0.5},
        factor=lambda step: min(1.0, (step - 1) / 2),
    )


def pissa() -> Change:
    """Neither factor begins at zero, and the base is changed before training."""
    return Change(adapter={"init_lora_weights": "pissa"})


def dora() -> Change:
    """A magnitude beside the factors."""
    return Change(adapter={"use_dora": True})


def trained_output_layer() -> Change:
    """A copy of the output layer is trained, its original frozen."""
    return Change(adapter={"modules_to_save": ["lm_head"]})


def bias_of_all_layers() -> Change:
    """Biases of the base are trained beside the factors."""
    return Change(adapter={"bias": "all"})


def two_adapters() -> Change:
    """The second one is there, inactive and frozen."""

    def add(model: Any) -> Any:
        model.add_adapter("second", LoraConfig(r=2))
        return model

    return Change(model=add)


def accumulation() -> Change:
    """Three micro-batches a step."""
    return Change(accumulation=3)


def no_clipping() -> Change:
    """Gradients go to the optimizer as they are."""
    return Change(max_grad_norm=0.0)


def hard_clipping() -> Change:
    """A norm of 1e-4, which Adam does not mind."""
    return Change(max_grad_norm=1e-4)


def rare_tokens() -> Change:
    """SGD on rows that use four tokens: most of the embedding never moves."""

    def four(row: dict[str, Any]) -> dict[str, Any]:
        ids = [3 + token % 4 for token in row["input_ids"]]
        return {"input_ids": ids, "labels": ids}

    return Change(
        rows=lambda rows: rows.map(four),
        optimizer=lambda base: SGD(base.parameters(), lr=0.1),
        steps=8,
    )


def zero_output_layer() -> Change:
    """An output layer that begins at zero keeps every gradient below it at zero once."""

    def zero(model: Any) -> Any:
        torch.nn.init.zeros_(model.lm_head.weight)
        return model

    return Change(model=zero)


def frozen_embedding() -> Change:
    """A part of the model is frozen on purpose."""

    def freeze(model: Any) -> Any:
        model.get_input_embeddings().requires_grad_(False)
        return model

    return Change(model=freeze)


def integer_base() -> Change:
    """A frozen buffer of bytes among the parameters, as of a quantised base."""

    def add(model: Any) -> Any:
        packed = torch.arange(256, dtype=torch.uint8)
        model.register_parameter("packed", torch.nn.Parameter(packed, requires_grad=False))
        return model

    return Change(model=add)


def module_in_evaluation_mode() -> Change:
    """The loop keeps a layer out of training mode."""

    def evaluate(model: Any) -> Any:
        model.get_decoder().layers[0].eval()
        return model

    return Change(model=evaluate)


def compiled() -> Change:
    """The model is compiled before it is watched."""
    return Change(model=lambda model: torch.compile(model, backend="eager"))


def two_rates() -> Change:
    """One group of parameters is at a rate of 0."""

    def build(base: Any) -> AdamW:
        parameters = list(base.parameters())
        groups = [{"params": parameters[:3], "lr": 0.0}, {"params": parameters[3:]}]
        return AdamW(groups, lr=1e-3)

    return Change(optimizer=build, steps=8)


def one_batch_without_labels() -> Change:
    """A batch of rows that were all cut."""

    def cut(step: int, batch: Any) -> Any:
        if step != ONSET:
            return batch
        return {**batch, "labels": torch.full_like(batch["labels"], -100)}

    return Change(batch=cut, loss=lambda step, loss: torch.nan_to_num(loss))


def one_bad_step_left_out() -> Change:
    """A step with an outsize gradient is left out by hand."""

    def leave_out(step: int, model: Any) -> None:
        if step == ONSET:
            model.zero_grad()

    return Change(before_update=leave_out)


def high_rate() -> Change:
    """Ten times the usual rate from the start of an untrained model."""
    return Change(learning_rate=1e-2, steps=12)


def tiny_loss() -> Change:
    """The loss is small, its gradient too."""
    return Change(loss=lambda step, loss: loss * 1e-4)


def rounded_log() -> Change:
    """A callback shows two decimals."""
    return Change(logged=lambda loss: round(loss, 2))


def sometimes_equal_rewards() -> Change:
    """Most groups of answers earn the same; some do not."""
    return Change(reward=lambda distinct: float(distinct > 8))


def first_scale_too_high() -> Change:
    """A scaler skips until its factor fits."""
    return Change(model=planted(math.inf, OVERFLOWING), steps=8)


def first_scale_too_high_for_a_fused_optimizer() -> Change:
    """The same with an optimizer that a scaler calls all the same, for it skips by itself."""
    return replace(
        first_scale_too_high(),
        optimizer=lambda base: AdamW(base.parameters(), lr=1e-3, fused=True),
    )


def one_overflow() -> Change:
    """One infinite gradient in a run, which the scaler skips."""
    return Change(model=planted(math.inf))


def one_nan_loss_that_is_skipped() -> Change:
    """One loss that is NaN in a run, which the scaler skips."""
    return Change(loss=lambda step, loss: loss * math.nan if step == ONSET else loss)


def long_run() -> Change:
    """As long as idle parameters need."""
    return Change(steps=IDLE)


def _habits() -> Iterator[tuple[str, Callable[[], Change], Mapping[str, int | None]]]:
    yield from ((way, habit, {}) for habit, ways in _QUIET for way in ways)
    yield from ((way, habit, true) for habit, ways, true in _TRUE for way in ways)


_MORE_WAYS: Mapping[str, Way] = {
    "Trainer tied Llama": partial(trainer, build=models.tied_llama),
    "Trainer tied Llama LoRA": partial(trainer, build=models.tied_llama, adapted=True),
    "Trainer Qwen3-MoE": partial(trainer, build=models.qwen3_moe),
    "Trainer Gemma": partial(trainer, build=models.gemma),
    "loop top-1 Mixtral": partial(loop, build=partial(models.mixtral, experts_per_token=1)),
    "loop tied Llama": partial(loop, build=models.tied_llama),
    "accelerate GPT-2": partial(accelerated, build=models.gpt2),
}

_QUIET = (
    (gradient_checkpointing, ("Trainer Llama LoRA", "Trainer GPT-2")),
    (warmup_from_zero, ("Trainer Llama LoRA", "DPO Llama LoRA", "loop Llama LoRA")),
    (weight_decay_on_what_has_no_gradient, ("Trainer Llama LoRA", "SFT Qwen2 LoRA")),
    (pissa, ("Trainer Llama LoRA", "loop Llama LoRA")),
    (dora, ("SFT Qwen2 LoRA", "loop Llama LoRA")),
    (trained_output_layer, ("SFT Qwen2 LoRA", "Trainer tied Llama LoRA")),
    (bias_of_all_layers, ("SFT Qwen2 LoRA",)),
    (two_adapters, ("Trainer Llama LoRA",)),
    (accumulation, ("Trainer Llama LoRA", "SFT Llama", "loop Llama", "accelerate Llama")),
    (no_clipping, ("Trainer Llama", "DPO Llama LoRA", "loop Mixtral")),
    (hard_clipping, ("Trainer Llama", "loop Llama LoRA")),
    (rare_tokens, ("Trainer Llama", "loop tied Llama")),
    (zero_output_layer, ("Trainer Llama", "loop Llama")),
    (frozen_embedding, ("Trainer Llama", "loop GPT-2")),
    (integer_base, ("Trainer Llama", "loop Llama LoRA")),
    (module_in_evaluation_mode, ("loop Llama", "Trainer Llama")),
    (compiled, ("loop Llama",)),
    (two_rates, ("Trainer Llama", "loop GPT-2")),
    (one_bad_step_left_out, ("Trainer Llama", "loop Llama")),
    (high_rate, ("Trainer Llama", "SFT Gemma LoRA", "loop Mixtral")),
    (tiny_loss, ("Trainer Llama",)),
    (rounded_log, ("Trainer Llama", "SFT Llama")),
    (sometimes_equal_rewards, ("GRPO Llama",)),
    (first_scale_too_high, ("Trainer scaled Llama", "loop scaled Llama")),
    (first_scale_too_high_for_a_fused_optimizer, ("loop scaled Llama",)),
    (one_overflow, ("Trainer scaled Llama", "loop scaled Llama")),
    (one_nan_loss_that_is_skipped, ("loop scaled Llama",)),
    (long_run, tuple(WAYS)),
    (long_run, ("Trainer tied Llama", "Trainer Qwen3-MoE", "Trainer Gemma", "loop tied Llama")),
    (long_run, ("accelerate GPT-2", "loop top-1 Mixtral")),
)

_TRUE = (
    (one_batch_without_labels, ("Trainer GPT-2", "SFT Llama"), {"TG301": ONSET}),
    (bfloat16_weights_at_a_low_rate, ("SFT Llama",), {"TG407": 1}),
)

HEALTHY: Mapping[str, Healthy] = {
    f"{way}: {habit.__name__.replace('_', ' ')}": Healthy({**WAYS, **_MORE_WAYS}[way], habit, true)
    for way, habit, true in _habits()
}
