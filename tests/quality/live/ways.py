"""The ways of running a training, each with places where a user's code may change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from trainguard import TrainGuardCallback, watch
from trainguard.findings import Report

import tiny
from . import models

BATCH = 4
#: No step of so small a run overflows at this factor.
SCALE = 2.0**10


@dataclass(frozen=True, kw_only=True)
class Change:
    """What the code of a run does otherwise than the plain one; steps count from 1."""

    steps: int = 6
    learning_rate: float = 1e-3
    max_grad_norm: float = 1.0
    accumulation: int = 1
    adapter: Mapping[str, Any] = field(default_factory=dict)
    """Options of the LoRA adapter, where there is one."""
    model: Callable[[Any], Any] = lambda model: model
    """Has the last word on the model that is trained."""
    optimizer: Callable[[Any], Optimizer] | None = None
    """Builds it over the model as it was before the adapter."""
    batch: Callable[[int, Any], Any] = lambda step, batch: batch
    loss: Callable[[int, Any], Any] = lambda step, loss: loss
    before_update: Callable[[int, Any], None] = lambda step, model: None
    """Runs between clipping and the optimizer."""
    after_step: Callable[[int, Any], None] = lambda step, model: None
    updates: bool = True
    """Whether the plain loop calls its optimizer."""
    factor: Callable[[int], float] | None = None
    """The learning rate of a step, as a factor."""
    logged: Callable[[float], float] = lambda loss: loss
    """What is shown of the loss."""
    reward: Callable[[int], float | None] = float
    """The reward of a completion with so many distinct characters."""
    rows: Callable[[Dataset], Dataset] = lambda rows: rows
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that only a Trainer has."""

    def assembled(self, base: Any, *, adapted: bool) -> tuple[Any, Optimizer | None]:
        """The model that is trained, and the user's optimizer if there is one."""
        optimizer = self.optimizer(base) if self.optimizer is not None else None
        model = models.lora(base, **self.adapter) if adapted else base
        return self.model(model), optimizer

    def schedule(self, optimizer: Optimizer) -> LambdaLR:
        """The learning rates of a loop; constant unless `factor` says otherwise."""
        factor = self.factor
        return LambdaLR(optimizer, lambda done: 1.0 if factor is None else factor(done + 1))


#: Runs a training in a folder and returns what trainguard makes of it.
Way = Callable[[Path, Change], Report]


def trainer(
    folder: Path,
    change: Change,
    *,
    build: Callable[[], Any],
    adapted: bool = False,
    kind: type[Trainer] = Trainer,
    config: type[TrainingArguments] = TrainingArguments,
    rows: Callable[[], Dataset] = tiny.rows,
    needs: Callable[[Change], dict[str, Any]] = lambda change: {},
    **own: Any,
) -> Report:
    """Train with a class of Trainer and its config.

    Args:
        folder: where the run writes.
        change: what its code does otherwise.
        build: makes the model.
        adapted: whether it gets a LoRA adapter.
        kind: the class of Trainer.
        config: the class of its arguments.
        rows: makes the data set.
        needs: further arguments of the Trainer.
        own: further arguments of the config.
    """
    model, optimizer = change.assembled(build(), adapted=adapted)
    arguments = {
        **tiny.QUIET,
        "bf16": False,
        "max_steps": change.steps,
        "logging_steps": 1,
        "per_device_train_batch_size": BATCH,
        "learning_rate": change.learning_rate,
        "max_grad_norm": change.max_grad_norm,
        "gradient_accumulation_steps": change.accumulation,
        **own,
        **change.arguments,
    }
    guard = TrainGuardCallback()
    run = _changed(kind, change)(
        model,
        args=config(str(folder), **arguments),
        train_dataset=change.rows(rows()),
        callbacks=[_Logs(change), guard, _Updates(change)],
        optimizers=(optimizer, None),
        **needs(change),
    )
    run.data_collator = _Collator(run.data_collator, change)
    run.train()
    return guard.report


def loop(
    folder: Path, change: Change, *, build: Callable[[], Any], adapted: bool = False
) -> Report:
    """Train in a loop of plain PyTorch."""
    model, optimizer = _for_loop(change, build, adapted)
    schedule = change.schedule(optimizer)
    with watch(model, optimizer, output_dir=folder) as guard:
        for step, window in enumerate(_windows(change), start=1):
            for batch in window:
                loss = change.loss(step, model(**change.batch(step, batch)).loss)
                (loss / change.accumulation).backward()
            if change.max_grad_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), change.max_grad_norm)
            change.before_update(step, model)
            if change.updates:
                optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            guard.log(change.logged(loss.item()))
            change.after_step(step, model)
    return guard.report


def accelerated(
    folder: Path, change: Change, *, build: Callable[[], Any], adapted: bool = False
) -> Report:
    """Train in a loop with accelerate."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=change.accumulation)
    unprepared, own = _for_loop(change, build, adapted)
    model, optimizer = accelerator.prepare(unprepared, own)
    schedule = change.schedule(own)
    with watch(model, optimizer, output_dir=folder) as guard:
        for step, window in enumerate(_windows(change), start=1):
            for batch in window:
                with accelerator.accumulate(model):
                    loss = change.loss(step, model(**change.batch(step, batch)).loss)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(model.parameters(), change.max_grad_norm)
                        change.before_update(step, model)
                    optimizer.step()
                    optimizer.zero_grad()
            schedule.step()
            guard.log(change.logged(loss.item()))
            change.after_step(step, model)
    return guard.report


def scaled(folder: Path, change: Change, *, build: Callable[[], Any]) -> Report:
    """Train in a loop with a gradient scaler."""
    model, optimizer = _for_loop(change, build, adapted=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    with watch(model, optimizer, output_dir=folder) as guard:
        for step, (batch,) in enumerate(_windows(change), start=1):
            loss = change.loss(step, model(**change.batch(step, batch)).loss)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), change.max_grad_norm)
            change.before_update(step, model)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            guard.log(change.logged(loss.item()))
            change.after_step(step, model)
    return guard.report


def scaled_trainer(folder: Path, change: Change, *, build: Callable[[], Any]) -> Report:
    """Train with a Trainer whose accelerator has a gradient scaler, as `fp16=True` gives it."""
    return trainer(folder, change, build=build, kind=_ScaledTrainer)


class _ScaledTrainer(Trainer):
    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)


def _for_loop(change: Change, build: Callable[[], Any], adapted: bool) -> tuple[Any, Optimizer]:
    set_seed(0)
    model, optimizer = change.assembled(build(), adapted=adapted)
    trainable = [p for p in model.parameters() if p.requires_grad]
    return model, optimizer or AdamW(trainable or model.parameters(), lr=change.learning_rate)


def _windows(change: Change) -> Iterator[list[dict[str, torch.Tensor]]]:
    """The micro-batches of each step."""
    rows = change.rows(tiny.rows(change.steps * change.accumulation * BATCH))
    batches = [
        {name: torch.tensor(values) for name, values in rows[start : start + BATCH].items()}
        for start in range(0, len(rows), BATCH)
    ]
    for start in range(0, len(batches), change.accumulation):
        yield batches[start : start + change.accumulation]


def _changed(kind: type[Trainer], change: Change) -> type[Trainer]:
    class Changed(kind):  # type: ignore[valid-type, misc]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            return change.loss(self.state.global_step + 1, super().compute_loss(*args, **kwargs))

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if change.factor is None:
                return super().create_scheduler(num_training_steps, optimizer)
            self.lr_scheduler = change.schedule(optimizer or self.optimizer)
            return self.lr_scheduler

    return Changed


class _Collator:
    """Counts the batches that it makes, and changes them."""

    def __init__(self, collate: Callable[[Any], Any], change: Change) -> None:
        self._collate = collate
        self._change = change
        self._made = 0

    def __call__(self, rows: Any) -> Any:
        step = self._made // self._change.accumulation + 1
        self._made += 1
        return self._change.batch(step, self._collate(rows))


class _Logs(TrainerCallback):
    def __init__(self, change: Change) -> None:
        self._change = change

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            logs["loss"] = self._change.logged(logs["loss"])


class _Updates(TrainerCallback):
    def __init__(self, change: Change) -> None:
        self._change = change

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        self._change.before_update(state.global_step + 1, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self._change.after_step(state.global_step, model)


def _words(seed: int) -> str:
    return " ".join(f"w{4 + (seed * 7 + place * 3) % 55}" for place in range(4))


def _classes() -> Dataset:
    rows = tiny.rows().remove_columns("labels")
    return rows.add_column("labels", [ids[0] % 2 for ids in rows["input_ids"]])


def _preferences() -> Dataset:
    places = range(32)
    return Dataset.from_dict(
        {
            "prompt": [_words(i) for i in places],
            "chosen": [" " + _words(i + 5) for i in places],
            "rejected": [" " + _words(i + 9) for i in places],
        }
    )


def _prompts() -> Dataset:
    return _preferences().select_columns(["prompt"])


def _judged() -> Dataset:
    chosen = _preferences().remove_columns("rejected").rename_column("chosen", "completion")
    return chosen.add_column("label", [i % 2 == 0 for i in range(len(chosen))])


def _tokenizer(change: Change) -> dict[str, Any]:
    return {"processing_class": tiny.tokenizer()}


def _padding(change: Change) -> dict[str, Any]:
    return {"data_collator": DataCollatorWithPadding(tiny.tokenizer())}


def _reference(change: Change) -> dict[str, Any]:
    return {**_tokenizer(change), "ref_model": models.gpt2()}


def _scores(change: Change) -> dict[str, Any]:
    def distinct_characters(completions: Sequence[str], **_: Any) -> list[float | None]:
        return [change.reward(len({*text})) for text in completions]

    return {**_tokenizer(change), "reward_funcs": distinct_characters}


_SFT = {"kind": SFTTrainer, "config": SFTConfig, "needs": _tokenizer}
_DPO = {"kind": DPOTrainer, "config": DPOConfig, "rows": _preferences, "needs": _tokenizer}
_KTO = {"kind": KTOTrainer, "config": KTOConfig, "rows": _judged, "needs": _tokenizer}
_REWARD = {"kind": RewardTrainer, "config": RewardConfig, "rows": _preferences, "needs": _tokenizer}
_GRPO = {
    "kind": GRPOTrainer,
    "config": GRPOConfig,
    "rows": _prompts,
    "needs": _scores,
    "num_generations": BATCH,
    "max_completion_length": 8,
    "loss_type": "grpo",
}

WAYS: Mapping[str, Way] = {
    "Trainer Llama": partial(trainer, build=models.llama),
    "Trainer Llama LoRA": partial(trainer, build=models.llama, adapted=True),
    "Trainer GPT-2": partial(trainer, build=models.gpt2),
    "Trainer BERT": partial(trainer, build=models.bert, rows=_classes, needs=_padding),
    "Trainer Mixtral": partial(trainer, build=models.mixtral),
    "Trainer scaled Llama": partial(scaled_trainer, build=models.llama),
    "SFT Llama": partial(trainer, build=models.llama, **_SFT),
    "SFT Qwen2 LoRA": partial(trainer, build=models.qwen2, adapted=True, **_SFT),
    "SFT Gemma LoRA": partial(trainer, build=models.gemma, adapted=True, **_SFT),
    "DPO GPT-2": partial(trainer, build=models.gpt2, **{**_DPO, "needs": _reference}),
    "DPO Llama LoRA": partial(trainer, build=models.llama, adapted=True, **_DPO),
    "Reward Llama": partial(trainer, build=models.reward_llama, **_REWARD),
    "GRPO Llama": partial(trainer, build=models.llama, **_GRPO),
    "GRPO Qwen2 LoRA": partial(trainer, build=models.qwen2, adapted=True, **_GRPO),
    "KTO Llama LoRA": partial(trainer, build=models.llama, adapted=True, **_KTO),
    "loop Llama": partial(loop, build=models.llama),
    "loop Llama LoRA": partial(loop, build=models.llama, adapted=True),
    "loop GPT-2": partial(loop, build=models.gpt2),
    "loop Mixtral": partial(loop, build=models.mixtral),
    "loop scaled Llama": partial(scaled, build=models.llama),
    "accelerate Llama": partial(accelerated, build=models.llama),
    "accelerate Qwen2 LoRA": partial(accelerated, build=models.qwen2, adapted=True),
}
