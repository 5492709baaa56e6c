"""The faults, as a user makes them: each function returns what it does to a run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import count
from typing import Any

import torch
from datasets import Dataset
from peft import prepare_model_for_kbit_training
from torch.optim import SGD, AdamW

import tiny
from .ways import Change

#: The step from which a fault is in the run, where it does not begin with it.
ONSET = 3
#: Steps of a run in which a loss is constant for long enough.
LONG = 12
#: Steps after which a parameter is idle, and two more.
IDLE = 22
CHECKPOINTED = {"gradient_checkpointing": True}


def frozen_adapter() -> Change:
    """An adapter made from a saved config, which says `inference_mode: true`."""
    return Change(adapter={"inference_mode": True}, model=_inputs_require_gradients)


def frozen_adapter_in_a_checkpointed_trainer() -> Change:
    """The same with gradient checkpointing."""
    return Change(adapter={"inference_mode": True}, arguments=CHECKPOINTED)


def prepared_after_the_adapter() -> Change:
    """Preparation for k-bit training freezes everything, the new adapter too."""
    return Change(model=prepare_model_for_kbit_training)


def disabled_adapter() -> Change:
    """An adapter that was switched off for a comparison, and not on again."""

    def disable(model: Any) -> Any:
        model.base_model.disable_adapter_layers()
        return _inputs_require_gradients(model)

    return Change(model=disable)


def nothing_trainable() -> Change:
    """The whole model is frozen, and its inputs require gradients."""

    def freeze(model: Any) -> Any:
        return _inputs_require_gradients(model.requires_grad_(False))

    return Change(model=freeze)


def adapter_scaled_by_zero() -> Change:
    """`lora_alpha` is 0."""
    return Change(adapter={"lora_alpha": 0})


def optimizer_before_the_adapter() -> Change:
    """The optimizer is built first, the adapter second."""
    return Change(optimizer=lambda base: AdamW(base.parameters(), lr=1e-3))


def optimizer_of_a_copy() -> Change:
    """The optimizer steps a copy of the model."""
    return Change(optimizer=lambda base: AdamW(copy.deepcopy(base).parameters(), lr=1e-3))


def optimizer_without_the_output_layer() -> Change:
    """A filter by name leaves a layer out."""

    def build(base: Any) -> AdamW:
        named = base.named_parameters()
        return AdamW([p for name, p in named if not name.startswith("lm_head")], lr=1e-3)

    return Change(optimizer=build)


def resized_after_the_optimizer() -> Change:
    """Tokens are added once the optimizer holds the old embedding."""

    def resize(model: Any) -> Any:
        model.resize_token_embeddings(tiny.VOCABULARY + 8)
        return model

    return Change(optimizer=lambda base: AdamW(base.parameters(), lr=1e-3), model=resize)


def unfrozen_after_the_optimizer() -> Change:
    """The body is frozen while the optimizer is built, and unfrozen for the run."""

    def head_first(base: Any) -> AdamW:
        base.base_model.requires_grad_(False)
        return AdamW([p for p in base.parameters() if p.requires_grad], lr=1e-3)

    return Change(optimizer=head_first, model=lambda model: model.requires_grad_(True))


def optimizer_that_does_nothing() -> Change:
    """A subclass forgets to call the step that it replaces."""

    class Wrapped(SGD):
        def step(self, closure: Any = None) -> None:
            """Return without a step."""

    return Change(optimizer=lambda base: Wrapped(base.parameters(), lr=1e-3))


def optimizer_that_is_not_called() -> Change:
    """The loop has no `optimizer.step()`."""
    return Change(updates=False, steps=LONG)


def nan_loss() -> Change:
    """The loss is NaN from a step on."""
    return Change(loss=_from_onset(lambda loss: loss * math.nan))


def nan_loss_at_the_last_step() -> Change:
    """The loss is NaN at the last step; answers sampled after it would end the run."""
    return replace(nan_loss(), steps=ONSET)


def infinite_loss() -> Change:
    """The loss is infinite from a step on."""
    return Change(loss=_from_onset(lambda loss: loss * math.inf))


def nan_loss_in_a_window() -> Change:
    """The same with two micro-batches a step."""
    return Change(accumulation=2, loss=_from_onset(lambda loss: loss * math.nan))


def nan_loss_logged_as_it_is() -> Change:
    """The same without the filter of the log."""
    nan = _from_onset(lambda loss: loss * math.nan)
    return Change(loss=nan, arguments={"logging_nan_inf_filter": False})


def nan_loss_shown_as_zero() -> Change:
    """The line that logs replaces what is not finite."""
    nan = _from_onset(lambda loss: loss * math.nan)
    return Change(loss=nan, logged=lambda loss: loss if math.isfinite(loss) else 0.0)


def nan_loss_shown_as_a_number() -> Change:
    """The log would say NaN, and a callback shows a number."""
    nan = _from_onset(lambda loss: loss * math.nan)
    return Change(
        loss=nan,
        arguments={"logging_nan_inf_filter": False},
        logged=lambda loss: loss if math.isfinite(loss) else 0.5,
    )


def nan_weights() -> Change:
    """A weight is overwritten by NaN between two steps."""
    return Change(after_step=_spoil_a_weight)


def nan_weights_with_nan_to_num() -> Change:
    """The model's loss becomes NaN, and `nan_to_num` repairs the number."""
    return Change(after_step=_spoil_a_weight, loss=lambda step, loss: torch.nan_to_num(loss))


def nan_weights_with_a_constant() -> Change:
    """The model's loss becomes NaN, and a constant takes its place."""
    return Change(after_step=_spoil_a_weight, loss=_constant_for_nan)


def nan_of_a_custom_loss_with_nan_to_num() -> Change:
    """A term of one's own becomes NaN, the logarithm of a negative number."""
    return Change(loss=_from_onset(lambda loss: torch.nan_to_num((loss - 100).log())))


def nan_gradient() -> Change:
    """One element of one gradient is NaN at one step."""
    return Change(model=planted(math.nan))


def nan_gradient_at_the_last_step() -> Change:
    """The same at the last step; answers sampled after it would end the run."""
    return replace(nan_gradient(), steps=ONSET)


def infinite_gradient() -> Change:
    """One element of one gradient is infinite at one step."""
    return Change(model=planted(math.inf))


def nan_gradients_set_to_zero() -> Change:
    """All gradients become NaN, and `nan_to_num` makes zeros of them."""

    def nan_to_num(step: int, model: Any) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.nan_to_num_()

    return Change(model=_nan_behind_the_logits, before_update=nan_to_num)


def gradients_zeroed_before_the_update() -> Change:
    """`zero_grad()` stands between the backward pass and the step."""
    return Change(before_update=lambda step, model: model.zero_grad())


def gradients_zeroed_from_a_step_on() -> Change:
    """A filter of gradients turns against all of them."""

    def zero(step: int, model: Any) -> None:
        if step >= ONSET:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(0)

    return Change(before_update=zero)


def ignored_labels() -> Change:
    """The template of the answer is not found: every label is -100."""
    return Change(batch=lambda step, batch: _ignored(batch))


def ignored_labels_from_a_step_on() -> Change:
    """The same from a part of the data on."""
    return Change(batch=lambda step, batch: _ignored(batch) if step >= ONSET else batch)


def equal_rows_with_ignored_labels() -> Change:
    """One row again and again, with nothing to learn."""

    def repeat(rows: Dataset) -> Dataset:
        one = {**rows[0], "labels": [-100] * tiny.LENGTH}
        return Dataset.from_list([one] * len(rows))

    return Change(rows=repeat, steps=LONG)


def ignored_completions() -> Change:
    """The mask of the completion is empty."""

    def mask(step: int, batch: Any) -> Any:
        return {**batch, "completion_mask": torch.zeros_like(batch["completion_mask"])}

    return Change(batch=mask)


def equal_pairs() -> Change:
    """The rejected answer is the chosen one."""
    return Change(rows=lambda rows: rows.map(lambda row: {"rejected": row["chosen"]}), steps=LONG)


def beta_of_zero() -> Change:
    """The strength of the preference is 0."""
    return Change(arguments={"beta": 0.0}, steps=LONG)


def equal_rewards() -> Change:
    """The reward matches nothing and is the same for every answer."""
    return Change(reward=lambda distinct: 0.0)


def no_rewards() -> Change:
    """The reward function answers None."""
    return Change(reward=lambda distinct: None)


def rate_of_zero() -> Change:
    """The learning rate is 0."""
    return Change(learning_rate=0.0, steps=8)


def rate_with_a_wrong_exponent() -> Change:
    """A learning rate of 1e-10."""
    return Change(learning_rate=1e-10, factor=lambda step: 1.0, steps=8)


def schedule_that_ends_early() -> Change:
    """The schedule was made for two steps."""
    return Change(factor=lambda step: max(0.0, 1.0 - (step - 1) / (ONSET - 1)), steps=9)


def warmup_longer_than_the_run() -> Change:
    """A thousand steps of warm-up."""
    return Change(arguments={"warmup_steps": 1000}, steps=8)


def clipping_to_nothing_under_sgd() -> Change:
    """A norm of 1e-9 is what is left of the gradients, and SGD takes them as they are."""
    return Change(
        max_grad_norm=1e-9, optimizer=lambda base: SGD(base.parameters(), lr=1e-3), steps=8
    )


def destructive_rate() -> Change:
    """A trained model is trained on at a rate of 1."""
    return Change(
        model=_trained, rows=_counting, learning_rate=1.0, factor=lambda step: 1.0, steps=30
    )


def overflowing_rate() -> Change:
    """A rate at which the first update overflows."""
    return Change(optimizer=lambda base: SGD(base.parameters(), lr=1e38), max_grad_norm=0.0)


def weight_decay_of_a_thousand() -> Change:
    """Decoupled weight decay that takes all of each trained weight at the first step."""
    return Change(
        model=_trained,
        rows=_counting,
        optimizer=lambda base: AdamW(base.parameters(), lr=1e-3, weight_decay=1e3),
        factor=lambda step: 1.0,
        steps=30,
    )


def detached_loss() -> Change:
    """The loss is made anew of its number."""
    return Change(loss=lambda step, loss: torch.tensor(loss.item(), requires_grad=True))


def detached_loss_from_a_step_on() -> Change:
    """The same from a step on."""
    return Change(loss=_from_onset(lambda loss: loss.detach().requires_grad_()))


def forward_without_gradients() -> Change:
    """The forward pass runs under `no_grad`, and the loss is told to require a gradient."""

    def decorate(model: Any) -> Any:
        model.forward = torch.no_grad()(model.forward)
        return model

    return Change(model=decorate, loss=lambda step, loss: loss.requires_grad_())


def loss_times_zero() -> Change:
    """A weight of the loss is 0."""
    return Change(loss=lambda step, loss: loss * 0, steps=LONG)


def constant_loss() -> Change:
    """`compute_loss` returns a number of its own."""
    return Change(loss=lambda step, loss: torch.tensor(2.3, requires_grad=True), steps=LONG)


def detached_layer() -> Change:
    """What a layer gives on is detached, so nothing below it learns."""

    def detach(model: Any) -> Any:
        model.get_decoder().layers[0].register_forward_hook(lambda layer, args, out: out.detach())
        return model

    return Change(model=detach, steps=IDLE)


def base_that_moves() -> Change:
    """Something else writes to the frozen base of an adapter."""

    def write(step: int, model: Any) -> None:
        if step == ONSET:
            next(p for p in model.parameters() if not p.requires_grad).data.add_(0.01)

    return Change(before_update=write)


def log_made_better() -> Change:
    """A callback shows a loss of its own."""
    return Change(logged=lambda loss: 0.01)


def float16_weights() -> Change:
    """The weights that are trained are float16, and AdamW is the one of the formula."""
    return Change(
        model=lambda model: model.half(),
        optimizer=lambda base: AdamW(base.parameters(), lr=1e-3, fused=False),
    )


def bfloat16_weights_at_a_low_rate() -> Change:
    """bfloat16 weights at 2e-5: most updates are lost."""
    return Change(
        model=lambda model: model.bfloat16(), learning_rate=2e-5, factor=lambda step: 1.0, steps=8
    )


def bfloat16_weights_at_a_rate_of_nothing() -> Change:
    """bfloat16 weights at 1e-9: every update is lost."""
    return Change(
        model=lambda model: model.bfloat16(), learning_rate=1e-9, factor=lambda step: 1.0, steps=8
    )


def scaler_that_always_skips() -> Change:
    """Gradients that are NaN at every step, which a gradient scaler skips."""
    return Change(model=_nan_behind_the_logits, steps=LONG)


def fused_optimizer_that_is_always_skipped() -> Change:
    """The same with an optimizer that a scaler calls all the same, for it skips by itself."""
    return replace(
        scaler_that_always_skips(),
        optimizer=lambda base: AdamW(base.parameters(), lr=1e-3, fused=True),
    )


def planted(value: float, at: Collection[int] = (ONSET,)) -> Callable[[Any], Any]:
    """Put a value into one element of one gradient at some steps, before clipping."""

    def plant(model: Any) -> Any:
        backward_passes = count(1)

        def spoil(gradient: torch.Tensor) -> torch.Tensor:
            if next(backward_passes) not in at:
                return gradient
            spoiled = gradient.clone()
            spoiled.view(-1)[5] = value
            return spoiled

        _, parameter = culprit(model)
        parameter.register_hook(spoil)
        return model

    return plant


def culprit(model: Any) -> tuple[str, torch.nn.Parameter]:
    """The parameter in the middle of those that are trained, with its name."""
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return trainable[len(trainable) // 2]


def _from_onset(spoil: Callable[[Any], Any]) -> Callable[[int, Any], Any]:
    return lambda step, loss: spoil(loss) if step >= ONSET else loss


def _constant_for_nan(step: int, loss: torch.Tensor) -> torch.Tensor:
    return torch.tensor(0.7, requires_grad=True) if loss.isnan() else loss


def _spoil_a_weight(step: int, model: Any) -> None:
    if step == ONSET - 1:
        with torch.no_grad():
            next(p for p in model.parameters() if p.requires_grad).fill_(math.nan)


def _inputs_require_gradients(model: Any) -> Any:
    model.enable_input_require_grads()
    return model


def _nan_behind_the_logits(model: Any) -> Any:
    """Gradients of NaN from a loss that is finite."""
    model.lm_head.register_forward_hook(
        lambda layer, args, logits: (
            logits.register_hook(lambda gradient: gradient * math.nan) and None
        )
    )
    return model


def _ignored(batch: Any) -> Any:
    return {**batch, "labels": torch.full_like(batch["labels"], -100)}


def _counting(rows: Dataset) -> Dataset:
    """Rows in which each token is followed by the next one."""

    def count_on(row: dict[str, Any]) -> dict[str, Any]:
        first = row["input_ids"][0]
        ids = [3 + (first + place) % (tiny.VOCABULARY - 3) for place in range(tiny.LENGTH)]
        return {"input_ids": ids, "labels": ids}

    return rows.map(count_on)


def _trained(model: Any) -> Any:
    rows = _counting(tiny.rows(64))
    ids = torch.tensor(rows["input_ids"])
    optimizer = AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model
