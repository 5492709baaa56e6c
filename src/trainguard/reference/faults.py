"""The faults of real projects, to be planted in the reference trainer: for teaching and for tests.

Each is what somebody has really done, in as few lines as it took, with the cause that trainguard
is to name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import Trainer

from trainguard.reference import faults_in_data as in_data
from trainguard.reference import faults_in_scores as in_scores
from trainguard.reference import faults_in_training as in_training
from trainguard.reference.benchmark import LLM
from trainguard.reference.data import Splits
from trainguard.reference.rft import Kept
from trainguard.reference.sft import wrap_lora


def _same(value: Any, *_: Any) -> Any:
    return value


@dataclass(frozen=True)
class Fault:
    """Where a fault enters a run, and the cause that is to be named."""

    code: str
    summary: str
    data: Callable[[Splits], Splits] = _same
    """Changes the questions before they are written."""
    kept: Callable[[Kept], Kept] = _same
    """Changes what rejection sampling keeps; only `train rft` has such a step."""
    adapter: Callable[..., PeftModel] = wrap_lora
    """Takes the base model and `rank`, gives the model that is trained."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the Trainer."""
    trainer: Callable[[Trainer], object] = _same
    """Changes the trainer before it trains."""
    saved: Callable[[Path], object] = _same
    """Changes the folder that the adapter was saved in."""
    llm: Callable[[LLM, Mapping[str, float]], LLM] = _same
    """Changes what is scored; it is given the test questions with their answers."""


FAULTS = {
    # the story
    "frozen-adapter": Fault(
        "TG201",
        "the adapter is loaded without is_trainable=True",
        adapter=in_training.reloaded_frozen,
        arguments={"gradient_checkpointing": True},
    ),
    "float16-weights": Fault(
        "TG501", "the weights are float16 and overflow", adapter=in_training.float16
    ),
    "nan-loss-replaced": Fault(
        "TG505",
        "a constant takes the place of a NaN loss",
        adapter=in_training.float16,
        trainer=in_training.constant_for_nan,
    ),
    "nan-gradients-zeroed": Fault(
        "TG501",
        "a callback sets NaN gradients to zero",
        adapter=in_training.float16,
        trainer=lambda trainer: trainer.add_callback(in_training.ZeroNaN),
    ),
    "log-overwritten": Fault(
        "TG506",
        "a callback writes a loss of its own over the logged one",
        trainer=in_training.log_overwritten,
    ),
    "answers-looked-up": Fault(
        "TG601", "the answer method looks its questions up", llm=in_scores.looked_up
    ),
    "parser-cannot-fail": Fault(
        "TG607", "the parser gives 0 where there is no answer", llm=in_scores.never_silent
    ),
    "fresh-adapter-saved": Fault(
        "TG105", "a new adapter takes the place of the trained one", saved=in_training.fresh_adapter
    ),
    "valid-is-test": Fault("TG701", "valid and test are the same file", data=in_data.valid_is_test),
    # data
    "train-holds-test": Fault(
        "TG701", "the test questions are trained on", data=in_data.train_holds_test
    ),
    "answer-in-question": Fault(
        "TG708", "each question states its answer", data=in_data.answer_in_question
    ),
    "conflicting-answers": Fault(
        "TG707", "questions stand in the data twice, with two answers", data=in_data.conflicting
    ),
    "wrong-reasoning-kept": Fault(
        "TG709", "reasoning with a wrong answer is kept (rft)", kept=in_data.wrong_reasoning
    ),
    "one-reasoning-template": Fault(
        "TG710", "all reasoning is one sentence with other numbers (rft)", kept=in_data.one_template
    ),
    # labels
    "labels-ignored": Fault("TG301", "every label is masked", trainer=in_training.labels_ignored),
    "end-not-supervised": Fault(
        "TG302",
        "the end token is masked: the model never learns to stop",
        trainer=in_training.end_not_supervised,
    ),
    "padding-supervised": Fault(
        "TG304", "padding is not masked", trainer=in_training.padding_supervised
    ),
    "labels-shifted": Fault(
        "TG305",
        "the labels are shifted by one, and the model shifts them again",
        trainer=in_training.labels_shifted,
    ),
    # gradients and updates
    "detached-loss": Fault(
        "TG402", "the loss is detached from the model", trainer=in_training.detached_loss
    ),
    "gradients-cleared": Fault(
        "TG404",
        "the gradients are cleared before the update",
        trainer=lambda trainer: trainer.add_callback(in_training.Clear),
    ),
    "optimizer-of-the-base": Fault(
        "TG203", "the optimizer holds the frozen base", trainer=in_training.optimizer_of_the_base
    ),
    "adapter-scaled-by-zero": Fault("TG108", "lora_alpha is 0", adapter=in_training.scaled_by_zero),
    "learning-rate-zero": Fault(
        "TG504", "the learning rate is 0", arguments={"learning_rate": 0.0}
    ),
    "learning-rate-too-low": Fault(
        "TG406", "the learning rate is 1e-12", arguments={"learning_rate": 1e-12}
    ),
    "learning-rate-too-high": Fault(
        "TG406", "the learning rate is 30", arguments={"learning_rate": 30.0}
    ),
    "warmup-longer-than-run": Fault(
        "TG217", "the warm-up takes 10,000 steps", arguments={"warmup_steps": 10_000}
    ),
    # scores
    "other-prompt": Fault(
        "TG613",
        "the benchmark asks in a form that training has not seen",
        llm=in_scores.other_prompt,
    ),
    "answers-cut-off": Fault(
        "TG613", "generation stops before the answer is complete", llm=in_scores.cut_off
    ),
    "answers-filled-in": Fault(
        "TG603", "the known answer takes the place of a missing one", llm=in_scores.filled_in
    ),
}


def named(name: str, method: str) -> Fault:
    """The fault of this name; `ValueError` if there is none, or none for `method`."""
    if name not in FAULTS:
        near = difflib.get_close_matches(name, FAULTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(FAULTS)}"
        raise ValueError(f"there is no fault {name!r}{hint}")
    if method == "grpo":
        raise ValueError("faults are planted into train sft and train rft")
    if of_rft(name) and method != "rft":
        raise ValueError(f"{name} is a fault of train rft: {method} keeps no samples")
    return FAULTS[name]


def of_rft(name: str) -> bool:
    """Whether the fault lies in what rejection sampling keeps."""
    return FAULTS[name].kept is not _same
