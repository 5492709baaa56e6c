"""Which fault is planted in which way of running, and what has to be found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from . import faults
from .faults import IDLE, ONSET
from .ways import Change


@dataclass(frozen=True)
class Sabotage:
    """A fault in a run."""

    way: str
    fault: Callable[[], Change]
    code: str
    """The first cause."""
    step: int | None
    """Where it can be seen first; None before the first step."""
    also: tuple[str, ...] = ()
    """Causes of faults that are in this run besides."""


def _planted() -> Iterator[Sabotage]:
    for fault, code, step, ways, *also in _MATRIX:
        for way in ways:
            yield Sabotage(way, fault, code, step, tuple(also))


_MATRIX = (
    (
        faults.frozen_adapter,
        "TG201",
        None,
        ("SFT Qwen2 LoRA", "SFT Gemma LoRA", "GRPO Qwen2 LoRA", "loop Llama LoRA"),
    ),
    (faults.frozen_adapter, "TG201", None, ("accelerate Qwen2 LoRA",)),
    (
        faults.frozen_adapter_in_a_checkpointed_trainer,
        "TG201",
        None,
        ("Trainer Llama LoRA", "SFT Qwen2 LoRA"),
    ),
    (faults.prepared_after_the_adapter, "TG201", None, ("SFT Qwen2 LoRA", "SFT Gemma LoRA")),
    (faults.disabled_adapter, "TG201", None, ("SFT Gemma LoRA", "loop Llama LoRA")),
    (faults.nothing_trainable, "TG202", None, ("SFT Llama", "loop GPT-2", "Trainer Mixtral")),
    (
        faults.adapter_scaled_by_zero,
        "TG402",
        1,
        ("Trainer Llama LoRA", "SFT Qwen2 LoRA", "loop Llama LoRA"),
    ),
    (
        faults.optimizer_before_the_adapter,
        "TG203",
        None,
        ("Trainer Llama LoRA", "SFT Qwen2 LoRA", "DPO Llama LoRA", "accelerate Qwen2 LoRA"),
    ),
    (faults.optimizer_of_a_copy, "TG203", None, ("Trainer BERT", "Reward Llama", "loop Mixtral")),
    (faults.optimizer_without_the_output_layer, "TG203", None, ("SFT Llama", "accelerate Llama")),
    (faults.resized_after_the_optimizer, "TG203", None, ("Trainer Llama", "loop Llama")),
    (faults.unfrozen_after_the_optimizer, "TG203", None, ("Trainer Llama", "Trainer BERT")),
    (faults.optimizer_that_does_nothing, "TG403", 1, ("Trainer Llama", "loop GPT-2")),
    (faults.optimizer_that_is_not_called, "TG405", 1, ("loop Llama",)),
    (
        faults.nan_loss,
        "TG501",
        ONSET,
        (
            "Trainer Llama",
            "Trainer BERT",
            "Trainer Mixtral",
            "SFT Llama",
            "SFT Gemma LoRA",
            "DPO GPT-2",
            "DPO Llama LoRA",
            "Reward Llama",
            "KTO Llama LoRA",
        ),
    ),
    (faults.nan_loss_at_the_last_step, "TG501", ONSET, ("GRPO Llama", "GRPO Qwen2 LoRA")),
    (faults.nan_loss, "TG502", ONSET, ("loop Llama", "accelerate Qwen2 LoRA")),
    (faults.infinite_loss, "TG501", ONSET, ("Trainer GPT-2", "SFT Qwen2 LoRA")),
    (faults.infinite_loss, "TG502", ONSET, ("loop Llama LoRA",)),
    (faults.nan_loss_in_a_window, "TG501", ONSET, ("Trainer Llama LoRA", "SFT Llama")),
    (faults.nan_loss_in_a_window, "TG502", ONSET, ("accelerate Llama",)),
    (faults.nan_loss_logged_as_it_is, "TG502", ONSET, ("Trainer GPT-2", "DPO Llama LoRA")),
    (faults.nan_loss_shown_as_zero, "TG501", ONSET, ("loop GPT-2", "accelerate Llama")),
    (faults.nan_loss_shown_as_a_number, "TG502", ONSET, ("Trainer Llama", "SFT Llama"), "TG506"),
    (faults.nan_weights, "TG501", ONSET, ("Trainer Llama", "Reward Llama", "SFT Llama")),
    (faults.nan_weights, "TG502", ONSET, ("loop Llama", "accelerate Llama")),
    (faults.nan_weights_with_nan_to_num, "TG505", ONSET, ("Trainer Llama", "Trainer BERT")),
    (faults.nan_weights_with_nan_to_num, "TG501", ONSET, ("loop Llama", "accelerate Llama")),
    (faults.nan_weights_with_a_constant, "TG505", ONSET, ("Trainer GPT-2", "SFT Llama")),
    (faults.nan_of_a_custom_loss_with_nan_to_num, "TG402", ONSET, ("Trainer Llama", "loop Llama")),
    (
        faults.nan_gradient,
        "TG401",
        ONSET,
        (
            "Trainer BERT",
            "Trainer Mixtral",
            "Trainer GPT-2",
            "SFT Gemma LoRA",
            "DPO GPT-2",
            "Reward Llama",
            "KTO Llama LoRA",
            "accelerate Llama",
        ),
    ),
    (faults.infinite_gradient, "TG401", ONSET, ("Trainer Llama LoRA", "DPO Llama LoRA")),
    (faults.infinite_gradient, "TG401", ONSET, ("SFT Llama", "loop Mixtral")),
    (faults.nan_gradient_at_the_last_step, "TG401", ONSET, ("GRPO Llama", "GRPO Qwen2 LoRA")),
    (faults.nan_gradients_set_to_zero, "TG401", 1, ("Trainer Llama", "loop Llama"), "TG404"),
    (
        faults.gradients_zeroed_before_the_update,
        "TG404",
        1,
        ("Trainer Llama", "SFT Qwen2 LoRA", "DPO Llama LoRA", "loop GPT-2", "accelerate Llama"),
    ),
    (faults.gradients_zeroed_from_a_step_on, "TG404", ONSET, ("Trainer Mixtral", "loop Llama")),
    (
        faults.ignored_labels,
        "TG301",
        1,
        ("Trainer GPT-2", "Trainer BERT", "SFT Qwen2 LoRA", "loop Mixtral"),
    ),
    (
        faults.ignored_labels_from_a_step_on,
        "TG301",
        ONSET,
        ("Trainer Mixtral", "SFT Llama", "accelerate Llama"),
    ),
    (faults.equal_rows_with_ignored_labels, "TG301", 1, ("Trainer Llama LoRA", "loop Llama")),
    (faults.ignored_completions, "TG402", 1, ("DPO Llama LoRA",)),
    (faults.equal_pairs, "TG503", 1, ("DPO GPT-2",)),
    (faults.beta_of_zero, "TG503", 1, ("DPO GPT-2", "DPO Llama LoRA")),
    (faults.equal_rewards, "TG402", 1, ("GRPO Llama", "GRPO Qwen2 LoRA")),
    (faults.no_rewards, "TG402", 1, ("GRPO Llama",)),
    (
        faults.rate_of_zero,  # of the first step it would be a warm-up
        "TG504",
        2,
        ("Trainer Llama", "SFT Qwen2 LoRA", "KTO Llama LoRA", "loop GPT-2"),
    ),
    (faults.rate_with_a_wrong_exponent, "TG406", 1, ("Trainer Llama", "loop Llama")),
    (
        faults.schedule_that_ends_early,
        "TG504",
        ONSET,
        ("Trainer Llama LoRA", "DPO GPT-2", "loop Llama LoRA", "accelerate Llama"),
    ),
    (faults.clipping_to_nothing_under_sgd, "TG403", 1, ("Trainer Llama", "accelerate Llama")),
    # Its biases begin at zero, where no update is too small.
    (faults.clipping_to_nothing_under_sgd, "TG406", 1, ("loop GPT-2",)),
    (faults.destructive_rate, "TG406", 1, ("Trainer Llama", "loop Llama")),
    (faults.overflowing_rate, "TG406", 1, ("loop Llama",)),
    (faults.weight_decay_of_a_thousand, "TG406", 1, ("Trainer Llama", "loop Llama")),
    (
        faults.detached_loss,
        "TG402",
        1,
        ("Trainer Llama", "DPO Llama LoRA", "Reward Llama", "accelerate Llama"),
    ),
    (faults.detached_loss_from_a_step_on, "TG402", ONSET, ("SFT Llama", "KTO Llama LoRA")),
    (faults.detached_loss_from_a_step_on, "TG402", ONSET, ("loop Mixtral",)),
    (faults.forward_without_gradients, "TG402", 1, ("Trainer Llama", "loop GPT-2")),
    (faults.loss_times_zero, "TG503", 1, ("Trainer Llama", "SFT Gemma LoRA", "GRPO Llama")),
    (faults.loss_times_zero, "TG402", 1, ("loop Llama",)),
    (faults.constant_loss, "TG503", 1, ("Trainer BERT", "DPO GPT-2")),
    (faults.detached_layer, "TG409", IDLE - 2, ("Trainer Llama", "SFT Qwen2 LoRA", "loop Mixtral")),
    (faults.base_that_moves, "TG410", ONSET, ("SFT Qwen2 LoRA", "loop Llama LoRA")),
    (faults.log_made_better, "TG506", 1, ("Trainer Llama", "SFT Gemma LoRA")),
    (faults.float16_weights, "TG501", 2, ("Trainer Llama",), "TG204"),
    (faults.float16_weights, "TG502", 2, ("loop Llama",), "TG204"),
    (faults.bfloat16_weights_at_a_low_rate, "TG407", 1, ("Trainer Llama", "loop Llama")),
    (
        faults.bfloat16_weights_at_a_rate_of_nothing,
        "TG403",
        1,
        ("SFT Llama", "accelerate Llama"),
    ),
    (faults.scaler_that_always_skips, "TG405", 1, ("Trainer scaled Llama", "loop scaled Llama")),
    (faults.fused_optimizer_that_is_always_skipped, "TG405", 1, ("loop scaled Llama",)),
)

SABOTAGES: Mapping[str, Sabotage] = {
    f"{planted.way}: {planted.fault.__name__.replace('_', ' ')}": planted for planted in _planted()
}
