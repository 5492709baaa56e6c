"""A collator that masks the prompt with a template that never occurs: no label is left."""

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
ANSWER = 9  # the token that begins the answer; the rows below have 7 there


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    ids = torch.tensor([row["input_ids"] for row in rows])
    answers = (ids == ANSWER).cumsum(1) > 0
    return {"input_ids": ids, "labels": ids.where(answers, -100)}


def train(output: Path) -> Report:
    guard = TrainGuardCallback()
    trainer = Trainer(
        LlamaForCausalLM(TINY),
        TrainingArguments(str(output), max_steps=4, logging_steps=1, use_cpu=True),
        train_dataset=Dataset.from_dict({"input_ids": [[20, 21, 22, 7, 30, 31, 2]] * 8}),
        data_collator=collate,
        callbacks=[guard],
    )
    trainer.train()
    return guard.report


if __name__ == "__main__":
    report = train(Path(sys.argv[1] if len(sys.argv) > 1 else "example-output"))
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
