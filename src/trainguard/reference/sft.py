"""Supervised fine-tuning of a causal language model with LoRA, on questions and their answers."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import Linear
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.pytorch_utils import Conv1D

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.reference.prompts import completion, direct_prompt, tokenized
from trainguard.reference.units import Question

STATE_FILE = "trainer_state.json"


def train_sft(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    output_dir: str | Path,
    *,
    callbacks: Iterable[TrainerCallback] = (),
    resume: bool = False,
    **options: Any,
) -> Trainer:
    """Train a LoRA adapter on `questions` and save it in `output_dir`.

    `options` go to `build_trainer`. With `resume`, a run that was killed goes on from its last
    whole checkpoint, if it had saved one. Raises `ValueError` if there are no questions or no
    EOS token.
    """
    trainer = build_trainer(model, tokenizer, questions, output_dir, **options)
    for callback in callbacks:
        trainer.add_callback(callback)
    finish(trainer, Path(output_dir), resume=resume)
    return trainer


def finish(trainer: Trainer, folder: Path, *, resume: bool = True) -> None:
    """Train to the last step, from the last whole checkpoint if there is one, and save."""
    checkpoint = last_whole_checkpoint(folder) if resume else None
    state = TrainerState.load_from_json(f"{checkpoint}/{STATE_FILE}") if checkpoint else None
    if state and state.global_step >= trainer.args.max_steps:
        # Killed after the last step. The Trainer would take one more.
        trainer.model.load_adapter(checkpoint, "default", is_trainable=True)
        trainer.state = state
    else:
        # It loads the adapter of a checkpoint with `is_trainable=True`, too.
        trainer.train(resume_from_checkpoint=checkpoint)
    save(trainer, folder)


def build_trainer(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    output_dir: str | Path,
    *,
    steps: int = 60,
    learning_rate: float = 1e-2,
    seed: int = 0,
    **training_arguments: Any,
) -> Trainer:
    """The `Trainer` of a LoRA adapter, ready to train.

    A plain `model` is wrapped in place by `wrap_lora`; a `PeftModel` is trained as it is. The
    default learning rate suits the tiny model, a real one wants about 2e-4. `training_arguments`
    go to `TrainingArguments` and override what stands here. Like any `Trainer` run, it seeds the
    global random state.
    """
    examples = [encode(question, tokenizer) for question in questions]
    if not examples:
        raise ValueError("there are no questions to train on")

    set_seed(seed)  # before the adapter is made: its A matrices are random
    if not isinstance(model, PeftModel):
        model = wrap_lora(model)

    defaults = {
        "max_steps": steps,
        "learning_rate": learning_rate,
        "per_device_train_batch_size": 16,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": not sys.stderr.isatty(),
        "dataloader_pin_memory": False,  # gains nothing on batches this small
        "seed": seed,
        # Autocast only: weights stay in float32, where small updates are not rounded away.
        "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    }
    return Trainer(
        model=model,
        args=TrainingArguments(str(output_dir), **(defaults | training_arguments)),
        train_dataset=examples,
        # pads each batch to its longest example, and the labels with it
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED_LABEL),
        processing_class=tokenizer,
    )


def last_whole_checkpoint(folder: Path) -> str | None:
    """The checkpoint to go on from, None if there is none.

    The Trainer writes `trainer_state.json` last: a checkpoint without a whole one was cut off,
    and is deleted.
    """
    for name in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        try:
            json.loads((name / STATE_FILE).read_bytes())
        except (OSError, ValueError):
            shutil.rmtree(name)
        else:
            return str(name)
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def save(trainer: Trainer, folder: Path) -> None:
    """Save adapter, tokenizer and state, each file in one rename: none is ever half-written."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=folder) as scratch:
        trainer.save_model(scratch)
        trainer.state.save_to_json(str(Path(scratch) / STATE_FILE))
        # The state comes last: where it is, everything is.
        for file in sorted(Path(scratch).iterdir(), key=lambda file: file.name == STATE_FILE):
            file.replace(folder / file.name)


def wrap_lora(
    model: PreTrainedModel, *, rank: int = 8, alpha: int | None = None, **lora_options: Any
) -> PeftModel:
    """Freeze `model` and give each of its linear layers but the output a LoRA adapter, in place.

    `alpha` is twice the rank if left out. `lora_options` go to `LoraConfig`. The adapter's A
    matrices are drawn from the global random state; its B matrices are zero, so the outputs do not
    change until the first step.
    """
    options = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"} | lora_options
    alpha = 2 * rank if alpha is None else alpha
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, **options))


def rank_within(model: PreTrainedModel, megabytes: float, most: int = 8) -> int:
    """The largest rank, up to `most`, whose float32 adapter of `wrap_lora` fits into `megabytes`.

    Raises `ValueError` if even rank 1 does not fit.
    """
    linear = [module for module in model.modules() if isinstance(module, (Linear, Conv1D))]
    adapted = [module for module in linear if module is not model.get_output_embeddings()]
    # A is (r, in), B is (out, r); 4 bytes an element
    bytes_of_a_rank = 4 * sum(sum(module.weight.shape) for module in adapted)
    rank = min(most, int(megabytes * 1e6 / bytes_of_a_rank))
    if rank < 1:
        needed = bytes_of_a_rank / 1e6
        raise ValueError(f"an adapter of rank 1 takes {needed:.3g} MB, {megabytes:g} are allowed")
    return rank


def encode(question: Question, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """The training example of one question: `input_ids` and `labels`, both of length T.

    The completion, with its reasoning if there is one, and the EOS after it are supervised. The
    question is not: the model is to answer it, not to ask it. Raises `ValueError` if the
    tokenizer has no EOS token, without which a model never learns to stop.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token to end an answer with")
    prompt = tokenized([direct_prompt(question.text, tokenizer)], tokenizer)["input_ids"][0]
    said = tokenizer(completion(question, tokenizer), add_special_tokens=False)["input_ids"]
    supervised = [*said, tokenizer.eos_token_id]
    return {
        "input_ids": prompt + supervised,
        "labels": [IGNORED_LABEL] * len(prompt) + supervised,
    }
