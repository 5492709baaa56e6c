"""What watching a run costs: its own CPU time, and the whole step against other observers.

The own time is taken inside one run, by wrapping the observer's entry points, so other load on the
machine cancels out: it is the figure to trust. The whole steps of five runs stand beside it: the
plain one twice, which shows how much of a difference is noise, with trainguard, with a callback
that asks each gradient whether it is finite, and with transformers' DebugUnderflowOverflow.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
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
from transformers.debug_utils import DebugUnderflowOverflow
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from trainguard import TrainGuardCallback

ENTRIES = (
    "_on_training_step",
    "_on_clipping",
    "_on_optimizer_ran",
    "_on_forward",
    "_before_update",
    "on_step_begin",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_step_end",
    "on_log",
)
#: Hidden size, layers, tokens per row, steps.
SIZES = {"small": (256, 4, 64, 40), "large": (512, 8, 128, 16)}
#: Steps at the start that are not counted: trainguard looks at each of them closely.
FIRST = 8


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

    def __init__(self, guard: TimedGuard | None) -> None:
        self.guard = guard
        self.steps: list[tuple[float, float]] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.thread_time(), self.spent

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        step, spent = self.began
        self.steps.append((time.thread_time() - step, self.spent - spent))

    @property
    def spent(self) -> float:
        return self.guard.spent if self.guard is not None else 0.0


class NaiveIsFinite(TrainerCallback):
    """What one writes in five lines."""

    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all()


def build(size: str, *, lora: bool) -> Any:
    hidden, layers, _, _ = SIZES[size]
    set_seed(0)
    config = LlamaConfig(
        vocab_size=2000,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
    )
    model = LlamaForCausalLM(config)
    if not lora:
        return model
    return get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))


def train(model: Any, size: str, callbacks: Sequence[TrainerCallback]) -> list[tuple[float, float]]:
    """CPU seconds of each steady step without and within trainguard."""
    guard = next((c for c in callbacks if isinstance(c, TimedGuard)), None)
    clock = StepClock(guard)
    _, _, length, steps = SIZES[size]
    ids = torch.randint(0, 2000, (64, length)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=4,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            use_cpu=True,
        )
        data = Dataset.from_dict({"input_ids": ids, "labels": ids})
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=[*callbacks, clock])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.steps[FIRST:]


def measure(size: str, *, lora: bool) -> None:
    runs = {}
    for name in ("plain", "plain again", "trainguard", "isfinite", "debug"):
        model = build(size, lora=lora)
        debug = DebugUnderflowOverflow(model) if name == "debug" else None
        callbacks = {"trainguard": [TimedGuard()], "isfinite": [NaiveIsFinite()]}.get(name, [])
        runs[name] = train(model, size, callbacks)
        del debug
    plain = statistics.median(total for total, _ in runs["plain"])
    own = statistics.median(own for _, own in runs["trainguard"])
    mean = statistics.mean(own for _, own in runs["trainguard"])
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    ratios = "  ".join(
        f"{name} {statistics.median(total for total, _ in steps) / plain:.3f}"
        for name, steps in runs.items()
        if name != "plain"
    )
    print(
        f"{'LoRA' if lora else 'full'} {parameters:5.1f} M  step {plain * 1e3:7.1f} ms  "
        f"own {own * 1e3:5.2f} ms = {own / plain:.2%} (mean {mean / plain:.2%})  steps: {ratios}"
    )


def main() -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    for size in SIZES:
        for lora in (True, False):
            measure(size, lora=lora)


if __name__ == "__main__":
    main()
