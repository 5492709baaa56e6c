"""A short run with a warm-up that fits into it."""

from __future__ import annotations

import sys
from pathlib import Path

from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from trainguard import Report, preflight

TINY = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)


def look_ahead(output: Path) -> Report:
    ids = [list(range(i, i + 16)) for i in range(4, 36)]
    trainer = Trainer(
        LlamaForCausalLM(TINY),
        TrainingArguments(str(output), max_steps=8, warmup_steps=2, use_cpu=True),
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
    )
    return preflight(trainer)


if __name__ == "__main__":
    report = look_ahead(Path(sys.argv[1] if len(sys.argv) > 1 else "example-output"))
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
