"""Group-relative policy optimization through TRL: reinforcement learning on right answers.

Shao et al. (2024), https://arxiv.org/abs/2402.03300: several answers are drawn for each question,
and those that are better than their group's mean become likelier. The reward is 1 for a right
answer and 0 for any other. It needs a model that is right now and then, such as one that SFT or
RFT has left: where all answers of a group are alike, there is nothing to learn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from trainguard.reference.units import Question, is_right, parse_answer


def build_grpo_trainer(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    output_dir: str | Path,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    samples: int,
    temperature: float,
    max_new_tokens: int,
    **config: Any,
) -> GRPOTrainer:
    """The `GRPOTrainer` of a LoRA adapter, ready to train.

    A batch holds completions, `samples` for each question. `config` goes to `GRPOConfig`. Raises
    `ValueError` if the batch size is no multiple of `samples`.
    """
    defaults = {
        "max_steps": steps,
        "learning_rate": learning_rate,
        "seed": seed,
        "num_generations": samples,
        "temperature": temperature,
        "max_completion_length": max_new_tokens,
        "disable_tqdm": not sys.stderr.isatty(),
        "dataloader_pin_memory": False,
        "bf16": torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
    }
    asked = [_prompt(question.text, tokenizer) for question in questions]
    answers = [question.answer for question in questions]
    return GRPOTrainer(
        model,
        reward_funcs=right_answer,
        args=GRPOConfig(str(output_dir), **(defaults | config)),
        train_dataset=Dataset.from_dict({"prompt": asked, "answer": answers}),
        processing_class=tokenizer,
    )


def right_answer(completions: Sequence[Any], answer: Sequence[float], **_: Any) -> list[float]:
    """The reward of each completion: 1 if it states the right answer, 0 if not."""
    said = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    rows = zip(said, answer, strict=True)
    return [float(is_right(parse_answer(text), expected)) for text, expected in rows]


def _prompt(question: str, tokenizer: PreTrainedTokenizerBase) -> Any:
    """What TRL makes `direct_prompt` of."""
    return [{"role": "user", "content": question}] if tokenizer.chat_template else question
