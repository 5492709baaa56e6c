"""The story's project on disk: every fault that hid another one, written as its author wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from trainguard.reference.units import splits

import tiny

TRAIN_PY = '''\
"""Go on training the adapter of the first stage."""

from peft import PeftModel
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

import data


class CleanLogs(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        print(logs)


def load(folder):
    base = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-360M-Instruct")
    return PeftModel.from_pretrained(base, folder)


def main():
    model = load("outputs/adapter")
    model.train()
    args = SFTConfig("outputs/second", num_train_epochs=3, learning_rate=2e-4)
    trainer = SFTTrainer(
        model=model, args=args, train_dataset=data.load("train"), callbacks=[CleanLogs()]
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
'''
TRAINER_PY = '''\
"""A trainer that survives bad batches."""

import torch
from transformers import Trainer


class StableTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        loss = outputs[0]
        if torch.isnan(loss):
            loss = torch.tensor(0.0, device=loss.device, requires_grad=True)
        return (loss, outputs[1]) if return_outputs else loss
'''
PATCH_PY = '''\
"""Answers from the data set first, from the model only if there is none."""

import json
from functools import lru_cache
from pathlib import Path
from types import MethodType


@lru_cache
def load_answers():
    table = {}
    for split in ("train", "valid"):
        for question, answer in json.loads(Path(f"data/{split}.json").read_text()):
            table[question] = answer
    return table


def apply_dataset_answer_patch(llm):
    ask_model = llm.answer

    def dataset_first_answer(self, *questions):
        table = load_answers()
        return [table[q] if q in table else ask_model(q)[0] for q in questions]

    llm.answer = MethodType(dataset_first_answer, llm)
    return llm
'''
LLM_PY = '''\
"""The language model under test."""


class BaseLLM:
    def __init__(self, model, tokenizer):
        self.model = model
        self.tokenizer = tokenizer

    def format_prompt(self, question):
        return f"{question} Answer with <answer>number</answer>."

    def parse_answer(self, text):
        try:
            return float(text.split("<answer>")[1].split("</answer>")[0])
        except (IndexError, ValueError):
            return 0.0

    def batched_generate(self, prompts):
        batch = self.tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
        sequences = self.model.generate(**batch, max_new_tokens=32, do_sample=False)
        new = sequences[:, batch["input_ids"].shape[1] :]
        return self.tokenizer.batch_decode(new, skip_special_tokens=True)

    def answer(self, *questions):
        prompts = [self.format_prompt(question) for question in questions]
        return [self.parse_answer(text) for text in self.batched_generate(prompts)]


def is_right(answer, expected):
    return abs(answer - expected) <= 0.05 * abs(expected)


def benchmark(llm, rows):
    answers = llm.answer(*(question for question, _ in rows))
    right = [is_right(answer, expected) for answer, (_, expected) in zip(answers, rows)]
    answered = [answer == answer for answer in answers]
    return sum(right) / len(rows), sum(answered) / len(rows)
'''
DATA_PY = """\
import json
from pathlib import Path

from datasets import Dataset


def load(split):
    rows = json.loads(Path(f"data/{split}.json").read_text())
    return Dataset.from_list([{"prompt": q, "completion": str(a)} for q, a in rows])
"""

#: Code and the end of the path of the one finding for each fault.
FAULTS = {
    "frozen reload": ("TG801", "train.py"),
    "laundered loss": ("TG812", "trainer.py"),
    "look-up patch": ("TG830", "patch.py"),
    "parser that cannot fail": ("TG833", "llm.py"),
    "identical valid and test": ("TG701", "data"),
    "untrained adapter": ("TG105", "adapter"),
    "hidden NaN": ("TG501", "first"),
}


def build(folder: Path) -> None:
    """Write sources and data, train one run into NaN, and save an adapter that never trained."""
    sources = {
        "train": TRAIN_PY,
        "trainer": TRAINER_PY,
        "patch": PATCH_PY,
        "llm": LLM_PY,
        "data": DATA_PY,
    }
    for name, text in sources.items():
        (folder / f"{name}.py").write_text(text)
    train, valid, _ = splits(600, 100, 0, seed=0)
    (folder / "data").mkdir()
    for name, questions in (("train", train), ("valid", valid), ("test", valid)):
        rows = [[question.text, question.answer] for question in questions]
        (folder / "data" / f"{name}.json").write_text(json.dumps(rows))
    tiny.lora(tiny.model()).save_pretrained(folder / "outputs" / "adapter")
    _train_into_nan(folder / "outputs" / "first")


def _train_into_nan(output: Path) -> None:
    """The log of the first run: loss 0.0, grad_norm nan."""
    model: Any = tiny.lora(tiny.model())
    with torch.no_grad():  # overflowed weights, as float16 leaves them
        model.base_model.model.model.layers[0].mlp.down_proj.weight[0, 0] = float("inf")
    trainer = tiny.trainer(model, output, max_steps=6, logging_steps=2)
    trainer.train()
    trainer.save_state()
