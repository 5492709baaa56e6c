"""Runs of every kind, each to be made twice: without trainguard and with it."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    MixtralConfig,
    Trainer,
    set_seed,
)
from trl import SFTTrainer

from tiny_trl import dpo, grpo, reward
from trainguard import TrainGuardCallback, watch

import tiny

TIMINGS = ("runtime", "per_second", "total_flos", "step_time")
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}
BATCHES = [
    {k: torch.tensor(v) for k, v in tiny.rows(4, seed).to_dict().items()} for seed in range(6)
]

ADAMW = partial(torch.optim.AdamW, lr=1e-3)

Outcome = dict[str, Any]
#: Makes a run in a folder, watched by trainguard or not, and returns what it leaves.
Run = Callable[[Path, bool], Outcome]


def left(model: Any, optimizer: Any, **more: Any) -> Outcome:
    """Weights, optimizer state, modes and random number generators."""
    return {
        "parameters": {n: p.detach().clone() for n, p in model.named_parameters()},
        "buffers": {n: b.detach().clone() for n, b in model.named_buffers()},
        "optimizer": optimizer.state_dict()["state"],
        "training": [module.training for module in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state(),
        **more,
    }


def of_trainer(trainer: Trainer) -> Outcome:
    trainer.train()
    logs = [
        {k: v for k, v in log.items() if not any(timing in k for timing in TIMINGS)}
        for log in trainer.state.log_history
    ]
    return left(trainer.model, trainer.optimizer, logs=logs)


def guards(watched: bool) -> list[TrainGuardCallback]:
    """One that takes the closest look at every step."""
    return [TrainGuardCallback(overhead=1.0)] if watched else []


def trainer(
    folder: Path,
    watched: bool,
    *,
    wrap: Callable[[Any], Any] = lambda model: model,
    build: Callable[[], Any] = tiny.model,
    kind: type[Trainer] = Trainer,
    **options: Any,
) -> Outcome:
    options = {"max_grad_norm": 0.5, **options}
    callbacks = guards(watched)
    return of_trainer(tiny.trainer(wrap(build()), folder, kind, callbacks=callbacks, **options))


def poisoned(folder: Path, watched: bool) -> Outcome:
    return trainer(folder, watched, wrap=tiny.lora, kind=tiny.poisoned(from_step=3))


#: Trackers, as far as they are installed, whose run can be left in a folder, without a network.
REPORTERS = [name for name in ("tensorboard", "wandb", "mlflow") if importlib.util.find_spec(name)]
OFFLINE = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
READ = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def told(folder: Path, watched: bool) -> Outcome:
    """A run that goes wrong, reports to every tracker and sends its errors to a command."""
    places = {"WANDB_DIR": str(folder), "MLFLOW_TRACKING_URI": f"file://{folder}/mlflow"}
    folder.mkdir(parents=True)
    callbacks = [TrainGuardCallback(overhead=1.0, notify=READ)] if watched else []
    options = {"callbacks": callbacks, "report_to": REPORTERS}
    kind = tiny.poisoned(from_step=3)
    with patch.dict(os.environ, {**OFFLINE, **places}):
        outcome = of_trainer(tiny.trainer(tiny.lora(tiny.model()), folder, kind, **options))
        if "wandb" in REPORTERS:  # the Trainer leaves its run open
            sys.modules["wandb"].finish()
            sys.modules["wandb"].teardown()
    return outcome


def told_loop(folder: Path, watched: bool) -> Outcome:
    """A loop that goes wrong and tells a writer of TensorBoard and a command."""
    with SummaryWriter(str(folder)) as writer:
        options = {"trackers": [writer], "notify": READ}
        return loop(folder, watched, step=nan_at_three, wrap=tiny.lora, **options)


def trl(folder: Path, watched: bool, *, build: Callable[..., Trainer]) -> Outcome:
    set_seed(0)
    own = {"processing_class": tiny.tokenizer(), "callbacks": guards(watched)}
    return of_trainer(build(folder, **own))


def loop(
    folder: Path,
    watched: bool,
    *,
    wrap: Callable[[Any], Any] = lambda model: model,
    build: Callable[[], Any] = tiny.model,
    optimizer: Callable[..., Any] = ADAMW,
    step: Callable[..., Any],
    **options: Any,
) -> Outcome:
    set_seed(0)
    model = wrap(build()).train()
    stepped = optimizer([p for p in model.parameters() if p.requires_grad])
    options = {"output_dir": folder, "overhead": 1.0, **options}
    with watch(model, stepped, **options) if watched else nullcontext():
        losses = [
            float(step(model, stepped, batch, number)) for number, batch in enumerate(BATCHES)
        ]
    return left(model, stepped, logs=losses)


def plain(model: Any, optimizer: Any, batch: Any, number: int, *, clip: float = 0.0) -> Any:
    loss = model(**batch).loss
    loss.backward()
    if clip:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def accumulated(model: Any, optimizer: Any, batch: Any, number: int) -> Any:
    loss = model(**batch).loss
    (loss / 2).backward()
    if number % 2:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    return loss.detach()


def scaled(model: Any, optimizer: Any, batch: Any, number: int) -> Any:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127 if number == 2 else 2.0**10)
    loss = model(**batch).loss
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return loss.detach()


def closure(model: Any, optimizer: Any, batch: Any, number: int) -> Any:
    def evaluate() -> Any:
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        return loss

    return optimizer.step(evaluate).detach()


def nan_at_three(model: Any, optimizer: Any, batch: Any, number: int) -> Any:
    loss = model(**batch).loss * (float("nan") if number >= 3 else 1.0)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def accelerated(model: Any, optimizer: Any, batch: Any, number: int) -> Any:
    accelerator = Accelerator(cpu=True)
    loss = model(**batch).loss
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def causal(config: Any) -> Any:
    set_seed(0)
    return AutoModelForCausalLM.from_config(config)


def gpt2() -> Any:
    """Tied embeddings, dropout in three places."""
    return causal(GPT2Config(vocab_size=tiny.VOCABULARY, n_embd=32, n_layer=2, n_head=4))


def mixtral() -> Any:
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    return causal(MixtralConfig(vocab_size=tiny.VOCABULARY, **SIZES, **HEADS, **experts))


class Normalised(torch.nn.Module):
    """Batch normalisation, whose buffers each forward pass moves."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(tiny.VOCABULARY, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.head = torch.nn.Linear(8, tiny.VOCABULARY)

    def forward(self, input_ids: Any, labels: Any, attention_mask: Any = None) -> Any:
        hidden = self.norm(self.embedding(input_ids).transpose(1, 2)).transpose(1, 2)
        logits = self.head(torch.nn.functional.dropout(hidden, 0.1, self.training))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


class OwnLoss(Trainer):
    """A loss of the user's own."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return 0.5 * model(**inputs).loss


def normalised() -> Any:
    set_seed(0)
    return Normalised()


def output_only(model: Any) -> Any:
    model.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    return model


def frozen_adapter(model: Any) -> Any:
    adapted = tiny.lora(model)
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("layers.0" in name and "lora_" in name)
    return adapted


def checkpointing(*, reentrant: bool) -> dict[str, Any]:
    return {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": reentrant},
    }


ACCUMULATED = {"gradient_accumulation_steps": 3, "logging_steps": 2}
EVALUATED = {"eval_dataset": tiny.rows(8, seed=1), "eval_strategy": "steps", "eval_steps": 2}
WARMED_UP = {"warmup_steps": 2, "lr_scheduler_type": "cosine"}
CLIPPED = partial(plain, clip=0.5)

RUNS: Mapping[str, Run] = {
    "Trainer full": partial(trainer),
    "Trainer LoRA": partial(trainer, wrap=tiny.lora),
    "Trainer full accumulated": partial(trainer, **ACCUMULATED),
    "Trainer LoRA accumulated": partial(trainer, wrap=tiny.lora, **ACCUMULATED),
    "SFT full": partial(trainer, kind=SFTTrainer),
    "SFT LoRA": partial(trainer, wrap=tiny.lora, kind=SFTTrainer),
    "SFT full accumulated": partial(trainer, kind=SFTTrainer, **ACCUMULATED),
    "SFT LoRA accumulated": partial(trainer, wrap=tiny.lora, kind=SFTTrainer, **ACCUMULATED),
    "DPO LoRA": partial(trl, build=dpo),
    "GRPO full": partial(trl, build=grpo),
    "Reward full": partial(trl, build=reward),
    "Trainer without clipping": partial(trainer, max_grad_norm=0.0),
    "Trainer AdamW unfused": partial(trainer, optim="adamw_torch"),
    "Trainer SGD": partial(trainer, optim="sgd"),
    "Trainer Adafactor": partial(trainer, optim="adafactor"),
    "Trainer weight decay": partial(trainer, wrap=tiny.lora, weight_decay=0.5),
    "Trainer warm-up": partial(trainer, **WARMED_UP),
    "Trainer evaluating": partial(trainer, **EVALUATED),
    "Trainer label smoothing": partial(trainer, label_smoothing_factor=0.1),
    "Trainer bf16 autocast": partial(trainer, bf16=True),
    "Trainer checkpointing": partial(trainer, wrap=tiny.lora, **checkpointing(reentrant=False)),
    "Trainer reentrant": partial(trainer, **checkpointing(reentrant=True)),
    "Trainer saving": partial(trainer, save_strategy="steps", save_steps=2),
    "Trainer own loss": partial(trainer, kind=OwnLoss),
    "Trainer DoRA": partial(trainer, wrap=partial(tiny.lora, use_dora=True)),
    "Trainer saved head": partial(trainer, wrap=partial(tiny.lora, modules_to_save=["lm_head"])),
    "Trainer half frozen adapter": partial(trainer, wrap=frozen_adapter),
    "Trainer frozen body": partial(trainer, wrap=output_only),
    "Trainer GPT-2": partial(trainer, build=gpt2),
    "Trainer Mixtral": partial(trainer, build=mixtral),
    "Trainer batch norm": partial(trainer, build=normalised),
    "Trainer NaN": poisoned,
    "Trainer NaN told": told,
    "loop full": partial(loop, step=plain),
    "loop LoRA clipped": partial(loop, wrap=tiny.lora, step=CLIPPED),
    "loop accumulated": partial(loop, step=accumulated),
    "loop scaler that skips": partial(loop, step=scaled),
    "loop closure": partial(loop, step=closure, optimizer=partial(torch.optim.LBFGS, max_iter=2)),
    "loop SGD momentum": partial(
        loop, step=CLIPPED, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    ),
    "loop accelerate": partial(loop, step=accelerated),
    "loop NaN": partial(loop, step=nan_at_three),
    "loop NaN told": told_loop,
}
