"""Supervised fine-tuning of a causal language model with LoRA, on questions and their answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.reference.units import Question, format_answer


def train_sft(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    output_dir: str | Path,
    *,
    steps: int = 60,
    learning_rate: float = 1e-2,
    seed: int = 0,
    callbacks: Iterable[TrainerCallback] = (),
    **training_arguments: Any,
) -> Trainer:
    """Train a LoRA adapter on `questions` and save it in `output_dir`.

    A plain `model` is wrapped in place by `wrap_lora`; a `PeftModel` is trained as it is. The
    default learning rate suits the tiny model, a real one wants about 2e-4. `training_arguments`
    go to `TrainingArguments` and override what stands here. Like any `Trainer` run, it seeds the
    global random state. Raises `ValueError` if there are no questions or no EOS token.
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
        "disable_tqdm": True,
        "dataloader_pin_memory": False,  # gains nothing on batches this small
        "seed": seed,
    }
    trainer = Trainer(
        model=model,
        args=TrainingArguments(str(output_dir), **(defaults | training_arguments)),
        train_dataset=examples,
        # pads each batch to its longest example, and the labels with it
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED_LABEL),
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
    trainer.train()
    trainer.save_model()
    trainer.save_state()
    return trainer


def wrap_lora(
    model: PreTrainedModel, *, rank: int = 8, alpha: int = 16, **lora_options: Any
) -> PeftModel:
    """Freeze `model` and give each of its linear layers but the output a LoRA adapter, in place.

    `lora_options` go to `LoraConfig`. The adapter's A matrices are drawn from the global random
    state; its B matrices are zero, so the outputs do not change until the first step.
    """
    options = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"} | lora_options
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, **options))


def encode(question: Question, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """The training example of one question: `input_ids` and `labels`, both of length T.

    The answer and the EOS after it are supervised. The question is not: the model is to answer
    it, not to ask it. Raises `ValueError` if the tokenizer has no EOS token, without which a
    model never learns to stop.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no EOS token to end an answer with")
    prompt = tokenizer(question.text)["input_ids"]
    completion = tokenizer(format_answer(question.answer), add_special_tokens=False)["input_ids"]
    completion = [*completion, tokenizer.eos_token_id]
    return {
        "input_ids": prompt + completion,
        "labels": [IGNORED_LABEL] * len(prompt) + completion,
    }
