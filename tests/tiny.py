"""Tiny models, data and trainers, built from configs: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from trl import SFTConfig, SFTTrainer

VOCABULARY = 64
LENGTH = 12
QUIET = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}


def model(seed: int = 0) -> LlamaForCausalLM:
    set_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            attention_dropout=0.1,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def lora(base: Any, **options: Any) -> PeftModel:
    targets = ["q_proj", "v_proj"]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, lora_dropout=0.1, **options)
    return get_peft_model(base, config)


def rows(count: int = 32, seed: int = 0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (count, LENGTH), generator=generator).tolist()
    mask = [[1] * LENGTH] * count
    return Dataset.from_dict({"input_ids": ids, "attention_mask": mask, "labels": ids})


def tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    words |= {f"w{number}": number for number in range(4, VOCABULARY)}
    built = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=built, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def trainer(trained: Any, folder: Path, kind: type[Trainer] = Trainer, **options: Any) -> Trainer:
    """A Trainer of the given class over `rows()`; options of the trainer itself pass through."""
    own = {
        name: options.pop(name)
        for name in ("callbacks", "train_dataset", "eval_dataset", "optimizers", "data_collator")
        if name in options
    }
    own.setdefault("train_dataset", rows())
    steps = {"max_steps": 6, "logging_steps": 1, "per_device_train_batch_size": 4}
    arguments = {**QUIET, **steps, "learning_rate": 1e-3, **options}
    if issubclass(kind, SFTTrainer):
        own["processing_class"] = tokenizer()
        return kind(trained, args=SFTConfig(str(folder), bf16=False, **arguments), **own)
    return kind(trained, args=TrainingArguments(str(folder), **arguments), **own)


def poisoned(from_step: int, micro_batches: int = 1) -> type[Trainer]:
    """A Trainer class whose loss is NaN from a step on."""

    class Poisoned(Trainer):
        calls = 0

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            Poisoned.calls += 1
            step = (Poisoned.calls - 1) // micro_batches + 1
            return loss * float("nan") if step >= from_step else loss

    return Poisoned
