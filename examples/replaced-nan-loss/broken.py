"""A trainer that "survives" a NaN loss: it returns a constant, and those steps train nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from trainguard import Report, TrainGuardCallback

TINY = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)


class StableTrainer(Trainer):
    def compute_loss(self, model: Any, inputs: Any, **options: Any) -> Any:
        loss = super().compute_loss(model, inputs, **options)
        if torch.isnan(loss):
            loss = torch.tensor(0.0, requires_grad=True)
        return loss


def train(output: Path) -> Report:
    model = LlamaForCausalLM(TINY)
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")  # a damaged row of the checkpoint
    ids = [list(range(4, 20))] * 8
    guard = TrainGuardCallback()
    trainer = StableTrainer(
        model,
        TrainingArguments(str(output), max_steps=4, logging_steps=1, use_cpu=True),
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
        callbacks=[guard],
    )
    trainer.train()
    return guard.report


if __name__ == "__main__":
    report = train(Path(sys.argv[1] if len(sys.argv) > 1 else "example-output"))
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
