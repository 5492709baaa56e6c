"""Weights in float16: the first update makes them NaN, and the log says that the loss is 0.0."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from trainguard import Report, TrainGuardCallback

TINY = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)


def train(base: Path, output: Path) -> Report:
    # AdamW divides by sqrt(v) + 1e-8, and in float16 1e-8 is 0.
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float16)
    ids = [list(range(4, 20))] * 8
    guard = TrainGuardCallback()
    trainer = Trainer(
        model,
        TrainingArguments(
            str(output), max_steps=6, logging_steps=1, use_cpu=True, optim="adamw_torch"
        ),
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
        callbacks=[guard],
    )
    trainer.train()
    return guard.report


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "example-output")
    LlamaForCausalLM(TINY).save_pretrained(folder / "base")
    report = train(folder / "base", folder / "run")
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
