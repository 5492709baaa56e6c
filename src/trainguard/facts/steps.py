"""What was observed at the optimizer steps of a training run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from trainguard.findings import ExcerptLine, Location

if TYPE_CHECKING:
    from trainguard.facts.notation import Line

#: Steps without a gradient after which a parameter is idle: an embedding or an expert that is
#: merely rare has had its turn by then.
IDLE_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """One optimizer step. None means that the value was not observed.

    A live run fills nearly all fields; a `trainer_state.json` only `step`, the logged values,
    `grad_norm` (which the Trainer logs before clipping) and the first learning rate.
    """

    WANTED: ClassVar[str] = "the steps of a training run"

    step: int
    """Optimizer step, from 1; a place in the log, from 1, where `step_unknown`."""
    step_unknown: bool = False
    """Whether the log does not say at which step it was written."""
    line: int | None = None
    """Line of the log that states the values, from 1."""
    loss: float | None = None
    """Sum of the step's micro-batch losses as the trainer returned them, before any filter."""
    model_loss: float | None = None
    """Sum of the losses that the model itself returned in the step's forward passes."""
    logged_loss: float | None = None
    """Loss as the log states it: a mean over the logging window, non-finite values replaced."""
    printed_loss: float | None = None
    """Loss of the log after every callback has had it; what a console or a tracker shows."""
    eval_loss: float | None = None
    """Loss on the evaluation set, of an evaluation that was run after this step."""
    grad_norm: float | None = None
    """L2 norm of all gradients of the step, before clipping."""
    learning_rates: tuple[float, ...] | None = None
    """Learning rate of each parameter group at this step."""
    supervised_tokens: int | None = None
    """Label positions of the step's batches that are not ignored (-100)."""
    gradients: int | None = None
    """Trainable tensors that could have received a gradient."""
    zero_gradients: int | None = None
    """How many of them received none, or one that is exactly zero."""
    nonfinite_gradients: tuple[str, ...] = ()
    """Names of parameters whose gradient holds a NaN or an infinity before clipping, at most 20."""
    nonfinite_tensors: int | None = None
    """How many there are in all."""
    stepped: bool | None = None
    """Whether the optimizer really ran; a gradient scaler may skip it."""
    sampled: int | None = None
    """Sampled elements of trainable tensors that received a non-zero gradient."""
    moved: int | None = None
    """How many of the sampled elements had another value after the step."""
    drifted: int | None = None
    """Sampled elements without a gradient that had another value after the step all the same."""
    update_ratio: float | None = None
    """Size of the update by that of the weights: L2 norms over the sampled elements."""
    zeroed: int | None = None
    """Of the sampled gradient elements, how many were zero when the optimizer ran."""
    nonfinite_at_step: int | None = None
    """Elements of the sample whose gradient was NaN or infinite when the optimizer ran."""
    idle: tuple[str, ...] = ()
    """Parameters for which this is the twentieth step in a row with a gradient of exactly zero, or
    none, of the steps that train; at most 20 names."""
    idle_tensors: int | None = None
    """How many there are in all."""
    frozen: int | None = None
    """Frozen tensors that were looked at after this step."""
    frozen_moved: tuple[str, ...] = ()
    """Those of them that have other values than at the beginning, at most 20 names."""
    frozen_moved_tensors: int | None = None
    """How many there are in all."""
    ranks: int | None = None
    """Processes whose weights were compared after this step."""
    ranks_apart: tuple[str, ...] = ()
    """Trained tensors that differ between them, at most 20 names."""
    ranks_apart_tensors: int | None = None
    """How many there are in all."""

    @property
    def is_unusual(self) -> bool:
        """Whether a value of this step alone is one that a healthy step rarely has."""
        losses = (self.loss, self.model_loss, self.logged_loss, self.grad_norm)
        return (
            any(value is not None and (value == 0.0 or not isfinite(value)) for value in losses)
            or bool(self.gradients and self.gradients == self.zero_gradients)
            or bool(self.nonfinite_tensors or self.zeroed or self.nonfinite_at_step)
            or bool(self.idle_tensors or self.frozen_moved_tensors or self.ranks_apart_tensors)
            or bool(self.sampled and 2 * (self.moved or 0) < self.sampled)
            or self.supervised_tokens == 0
            or self.stepped is False
            or (self.printed_loss is not None and self.printed_loss != self.logged_loss)
            or not self.trains
        )

    @property
    def name(self) -> str:
        """What a message calls it: "step 7", or "log line 31" where the step is unknown."""
        return f"log line {self.line}" if self.step_unknown else f"step {self.step}"

    @property
    def trains(self) -> bool:
        """Whether the step can change weights: it ran and some learning rate is not zero."""
        rates_allow = self.learning_rates is None or any(rate != 0 for rate in self.learning_rates)
        return self.stepped is not False and rates_allow

    def to_dict(self) -> dict[str, Any]:
        """The observed fields as JSON values (a NaN stays a float)."""
        values = {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StepFacts:
        """The inverse of `to_dict`; unknown fields of a newer version are left out.

        Raises:
            TypeError: the step is missing.
        """
        known = {field.name for field in fields(cls)}
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
        return cls(**arguments)


def observed(steps: Sequence[StepFacts], name: str) -> list[StepFacts]:
    """The steps at which a field was observed."""
    return [step for step in steps if getattr(step, name) is not None]


def from_log_alone(steps: Sequence[StepFacts]) -> bool:
    """Whether the log is all there is: nothing was seen where it happened."""
    return all(step.loss is None and step.gradients is None for step in steps)


def units(steps: Sequence[StepFacts]) -> str:
    """What a message counts: "steps", or "log lines" where the steps are unknown."""
    return "log lines" if any(step.step_unknown for step in steps) else "steps"


def place(
    steps: Sequence[StepFacts], at: StepFacts, key: str, *, also: StepFacts | None = None
) -> Location:
    """The location of a step: its neighbours as an excerpt, the step itself marked.

    Args:
        steps: the run; `at` and `also` are among them.
        at: the step.
        key: the field that the finding is about.
        also: a later step that belongs to the picture.
    """
    index = next(i for i, step in enumerate(steps) if step is at)
    window = [*steps[max(0, index - AROUND) : index + AROUND + 1]]
    if also is not None and all(step is not also for step in window):
        window.append(also)
    return Location(
        line=at.line,
        step=None if at.step_unknown else at.step,
        key=key,
        value=_shown(getattr(at, key)),
        excerpt=tuple(
            ExcerptLine(
                label=str(step.line if step.step_unknown else step.step),
                text=_row(step, key),
                marked=step is at,
            )
            for step in window
        ),
    )


#: Steps shown before and after the one that a finding is about.
AROUND = 2
_COLUMNS = {
    "loss": "loss",
    "logged": "logged_loss",
    "grad_norm": "grad_norm",
    "lr": "learning_rates",
    "labels": "supervised_tokens",
}


def _row(step: StepFacts, key: str) -> str:
    columns = _COLUMNS if key in _COLUMNS.values() else _COLUMNS | {key: key}
    return "  ".join(
        f"{title} {_shown(getattr(step, name)):<8}"
        for title, name in columns.items()
        if getattr(step, name) is not None
    ).rstrip()


def shown(number: float) -> str:
    """A number as logs print it: four significant digits, and 0.0 rather than 0."""
    text = f"{number:.4g}"
    return f"{text}.0" if text.lstrip("-").isdigit() else text


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(dict.fromkeys(_shown(item) for item in value))
    return shown(value) if isinstance(value, float) else str(value)


def consecutive(
    steps: Sequence[StepFacts], holds: Callable[[StepFacts], bool]
) -> Iterator[list[StepFacts]]:
    """The maximal runs of neighbouring steps for which a condition holds."""
    run: list[StepFacts] = []
    for step in steps:
        if holds(step):
            run.append(step)
        elif run:
            yield run
            run = []
    if run:
        yield run


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`step=7 loss=nan ...`, one step a line; `steps=1-5` repeats the rest of the line."""
    return {StepFacts: tuple(step for line in lines for step in _steps(line))}


def _steps(line: Line) -> Iterator[StepFacts]:
    values = dict(line.fields)
    if "lr" in values:
        values["learning_rates"] = [values.pop("lr")]
    span = values.pop("steps", None)
    first_step, last_step = _span(span) if span else (values.pop("step"),) * 2
    for step in range(first_step, last_step + 1):
        yield StepFacts.from_dict({**values, "step": step})


def _span(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    return int(start), int(end)
