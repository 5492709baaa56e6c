"""TRL's trainers over tiny models; their losses look odd by design."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import LlamaForSequenceClassification, Trainer
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
)

import tiny

STEPS = {**tiny.QUIET, "max_steps": 15, "logging_steps": 1, "bf16": False, "learning_rate": 1e-3}


def words(seed: int) -> str:
    return " ".join(f"w{4 + (seed * 7 + place * 3) % 55}" for place in range(4))


def preferences() -> Dataset:
    return Dataset.from_dict(
        {
            "prompt": [words(i) for i in range(32)],
            "chosen": [" " + words(i + 5) for i in range(32)],
            "rejected": [" " + words(i + 9) for i in range(32)],
        }
    )


def different_words(completions: list[str], **_: Any) -> list[float]:
    return [len(set(text.split())) + 0.1 * (sum(map(ord, text)) % 7) for text in completions]


def dpo(folder: Path, **options: Any) -> Trainer:
    arguments = DPOConfig(str(folder), per_device_train_batch_size=4, **STEPS)
    return DPOTrainer(
        tiny.lora(tiny.model()), args=arguments, train_dataset=preferences(), **options
    )


def grpo(folder: Path, **options: Any) -> Trainer:
    """With this loss type the logged loss of an on-policy step is exactly 0.0."""
    sampling = {"num_generations": 4, "max_completion_length": 8, "loss_type": "grpo"}
    arguments = GRPOConfig(str(folder), per_device_train_batch_size=4, **sampling, **STEPS)
    return GRPOTrainer(
        tiny.model(),
        reward_funcs=different_words,
        args=arguments,
        train_dataset=preferences().select_columns(["prompt"]),
        **options,
    )


def reward(folder: Path, **options: Any) -> Trainer:
    config = tiny.model().config
    config.num_labels = 1
    arguments = RewardConfig(str(folder), per_device_train_batch_size=4, **STEPS)
    return RewardTrainer(
        LlamaForSequenceClassification(config),
        args=arguments,
        train_dataset=preferences(),
        **options,
    )
