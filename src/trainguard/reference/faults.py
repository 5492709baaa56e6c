"""The faults of real projects, to be planted in the reference trainer: for teaching and for tests.

Each is what somebody has really done, in as few lines as it took.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MethodType
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, Trainer, TrainerCallback

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.reference.benchmark import LLM
from trainguard.reference.data import read_questions, write_questions
from trainguard.reference.sft import wrap_lora
from trainguard.reference.units import Question, format_answer, is_right, parse_answer


def _same(value: Any) -> Any:
    return value


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True)
class Fault:
    """Where a fault enters a run, and the cause that is to be named."""

    code: str
    summary: str
    data: Callable[[Path], None] = _nothing
    """Changes the folder of questions once it is written."""
    kept: Callable[[Sequence[Question]], Sequence[Question]] = _same
    """Changes the rows that rejection sampling keeps."""
    model: Callable[[PreTrainedModel], PeftModel] = wrap_lora
    """Wraps the base model."""
    trainer: Callable[[Trainer], None] = _nothing
    """Changes the trainer before it trains."""
    llm: Callable[[LLM, Sequence[Question]], LLM] = lambda llm, _: llm
    """Changes what is scored."""


def with_outlier_features(model: Any, factor: float = 2.0**16) -> Any:
    """Scale one factor of each MLP up and its output weights down by the same factor.

    In float32 the function stays the same. Pre-trained models have such outlier features by
    nature; in float16 they overflow above 65504.
    """
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.up_proj.weight *= factor
            layer.mlp.down_proj.weight /= factor
    return model


def _reloaded_frozen(model: PreTrainedModel) -> PeftModel:
    with TemporaryDirectory() as folder:
        wrapped = wrap_lora(model)
        wrapped.save_pretrained(folder)
        return PeftModel.from_pretrained(wrapped.unload(), folder)


def _checkpointed(trainer: Trainer) -> None:
    trainer.args.gradient_checkpointing = True


def _float16(model: PreTrainedModel) -> PeftModel:
    return wrap_lora(with_outlier_features(model)).half()


def _constant_for_nan(trainer: Trainer) -> None:
    compute_loss = trainer.compute_loss

    def replaced(*args: Any, **kwargs: Any) -> Any:
        loss = compute_loss(*args, **kwargs)
        # trainguard: ignore[nan-loss-replaced] the fault that is planted
        return torch.tensor(0.1, requires_grad=True) if torch.isnan(loss) else loss

    trainer.compute_loss = replaced


class _ZeroNaN(TrainerCallback):  # type: ignore[misc]
    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                # trainguard: ignore[nan-gradients-zeroed] the fault that is planted
                parameter.grad.nan_to_num_(0.0)


class _BetterLog(TrainerCallback):  # type: ignore[misc]
    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        if logs and "loss" in logs:
            # trainguard: ignore[log-overwritten] the fault that is planted
            logs["loss"] = 0.01


def _relabelled(change: Callable[[list[int]], list[int]]) -> Callable[[Trainer], None]:
    def relabel(trainer: Trainer) -> None:
        trainer.train_dataset = [
            {**row, "labels": change(row["labels"])} for row in trainer.train_dataset
        ]

    return relabel


def _learning_rate(rate: float) -> Callable[[Trainer], None]:
    def change(trainer: Trainer) -> None:
        trainer.args.learning_rate = rate

    return change


def _optimizer_of_the_base(trainer: Trainer) -> None:
    base = trainer.model.get_base_model()
    frozen = [value for name, value in base.named_parameters() if "lora_" not in name]
    trainer.optimizer = torch.optim.AdamW(frozen, lr=trainer.args.learning_rate)


def _detached(trainer: Trainer) -> None:
    compute_loss = trainer.compute_loss

    def detached(*args: Any, **kwargs: Any) -> Any:
        return torch.tensor(compute_loss(*args, **kwargs).item(), requires_grad=True)

    trainer.compute_loss = detached


def _looked_up(llm: LLM, questions: Sequence[Question]) -> LLM:
    ask_model = llm.answer
    table = {question.text: question.answer for question in questions}

    def dataset_first_answer(self: LLM, *asked: str) -> list[float]:
        return [table[q] if q in table else ask_model(q)[0] for q in asked]

    # trainguard: ignore[answer-method-replaced] the fault that is planted
    llm.answer = MethodType(dataset_first_answer, llm)  # type: ignore[method-assign]
    return llm


class _NeverSilent(LLM):
    """Its parser answers 0 where the text states no number."""

    def answer(self, *questions: str) -> list[float]:
        texts = self.generate(*self.prompts(questions))
        return [self.parse_answer(text) for text in texts]

    @staticmethod
    def parse_answer(text: str) -> float:
        number = parse_answer(text)
        # trainguard: ignore[parser-cannot-fail] the fault that is planted
        return 0.0 if math.isnan(number) else number


def _never_silent(llm: LLM, _: Sequence[Question]) -> LLM:
    return _NeverSilent(llm.model, llm.tokenizer, llm.batch_size, llm.max_new_tokens, llm.cot)


def _train_holds_test(folder: Path) -> None:
    rows = read_questions(folder / "train.json") + read_questions(folder / "test.json")
    write_questions(folder / "train.json", rows)


def _valid_is_test(folder: Path) -> None:
    write_questions(folder / "valid.json", read_questions(folder / "test.json"))


def _with_wrong_reasoning(kept: Sequence[Question]) -> list[Question]:
    def spoiled(row: Question) -> Question:
        wrong = 2 * row.answer
        assert not is_right(wrong, row.answer)
        return replace(
            row, reasoning=row.reasoning.replace(format_answer(row.answer), format_answer(wrong))
        )

    return [spoiled(row) if number % 3 == 0 else row for number, row in enumerate(kept)]


FAULTS = {
    "frozen-adapter": Fault(
        "TG201",
        "the adapter is loaded without is_trainable=True",
        model=_reloaded_frozen,
        trainer=_checkpointed,
    ),
    "float16-weights": Fault("TG501", "the weights are float16 and overflow", model=_float16),
    "nan-loss-replaced": Fault(
        "TG501",
        "a constant takes the place of a NaN loss",
        model=_float16,
        trainer=_constant_for_nan,
    ),
    "nan-gradients-zeroed": Fault(
        "TG501",
        "a callback sets NaN gradients to zero",
        model=_float16,
        trainer=lambda trainer: trainer.add_callback(_ZeroNaN),
    ),
    "log-overwritten": Fault(
        "TG504",
        "a callback writes a loss of its own into the log",
        trainer=lambda trainer: trainer.add_callback(_BetterLog),
    ),
    "labels-ignored": Fault(
        "TG301",
        "every label is masked",
        trainer=_relabelled(lambda labels: [IGNORED_LABEL] * len(labels)),
    ),
    "end-not-supervised": Fault(
        "TG303",
        "the end token is masked, the model never learns to stop",
        trainer=_relabelled(lambda labels: [*labels[:-1], IGNORED_LABEL]),
    ),
    "labels-shifted": Fault(
        "TG305",
        "the labels are shifted by one, and the model shifts them again",
        trainer=_relabelled(lambda labels: [*labels[1:], IGNORED_LABEL]),
    ),
    "learning-rate-zero": Fault("TG506", "the learning rate is 0", trainer=_learning_rate(0.0)),
    "optimizer-of-the-base": Fault(
        "TG203", "the optimizer holds the frozen base", trainer=_optimizer_of_the_base
    ),
    "detached-loss": Fault("TG402", "the loss is detached from the model", trainer=_detached),
    "adapter-scaled-by-zero": Fault(
        "TG202", "lora_alpha is 0", model=lambda model: wrap_lora(model, alpha=0)
    ),
    "answers-looked-up": Fault("TG601", "the answer method looks questions up", llm=_looked_up),
    "parser-cannot-fail": Fault(
        "TG607", "the parser answers 0 where there is no answer", llm=_never_silent
    ),
    "train-holds-test": Fault("TG702", "the test questions are trained on", data=_train_holds_test),
    "valid-is-test": Fault("TG701", "valid and test are the same file", data=_valid_is_test),
    "wrong-reasoning-kept": Fault(
        "TG711", "reasoning with a wrong answer is kept (train rft)", kept=_with_wrong_reasoning
    ),
}
