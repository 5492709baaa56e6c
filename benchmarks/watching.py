"""What watching a run costs: CPU time inside trainguard, as a share of the training step.

Both are taken from the same run, so other load on the machine cancels out. The observer is timed
by wrapping its entry points; the step is everything else.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

from trainguard import TrainGuardCallback

STEPS = 20
ENTRIES = (
    "_on_training_step",
    "_on_optimizer_ran",
    "_on_forward",
    "_before_update",
    "on_step_begin",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_step_end",
    "on_log",
)
SIZES = {"small": (256, 4, 64), "large": (512, 8, 128)}  # hidden size, layers, tokens per row


class TimedGuard(TrainGuardCallback):
    """The callback, with the CPU time spent inside it."""

    spent = 0.0
    depth = 0


def timed(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def wrapper(self: TimedGuard, *args: Any, **kwargs: Any) -> Any:
        started, self.depth = time.thread_time(), self.depth + 1
        try:
            return method(self, *args, **kwargs)
        finally:
            self.depth -= 1
            if self.depth == 0:
                self.spent += time.thread_time() - started

    return wrapper


for entry in ENTRIES:
    setattr(TimedGuard, entry, timed(getattr(TrainGuardCallback, entry)))


class StepClock(TrainerCallback):
    """CPU time of each step, the observer's included, and the observer's part of it."""

    def __init__(self, guard: TimedGuard) -> None:
        self.guard = guard
        self.steps: list[tuple[float, float]] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.thread_time(), self.guard.spent

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        step, spent = self.began
        self.steps.append((time.thread_time() - step, self.guard.spent - spent))


def measure(size: str, lora: bool) -> None:
    hidden, layers, length = SIZES[size]
    set_seed(0)
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=2000,
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=8,
        )
    )
    if lora:
        model = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    ids = torch.randint(0, 2000, (64, length)).tolist()
    guard = TimedGuard()
    clock = StepClock(guard)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=STEPS,
            per_device_train_batch_size=4,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            use_cpu=True,
        )
        data = Dataset.from_dict({"input_ids": ids, "labels": ids})
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=[guard, clock])
        trainer.pop_callback(
            next(c for c in trainer.callback_handler.callbacks if "Printer" in type(c).__name__)
        )
        trainer.train()
    steady = clock.steps[STEPS // 4 :]
    step = statistics.median(total - own for total, own in steady)
    own = statistics.median(own for _, own in steady)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    name = f"{'LoRA' if lora else 'full'} {parameters:.1f} M"
    print(f"{name:<14} step {step * 1e3:7.1f} ms  own {own * 1e3:5.2f} ms  {own / step:6.2%}")


def main() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    for size in SIZES:
        for lora in (True, False):
            measure(size, lora)


if __name__ == "__main__":
    main()
