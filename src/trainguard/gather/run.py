"""The record of a training run on disk: trainguard's own, or a bare `trainer_state.json`.

Files are untrusted: sizes are bounded, every field is checked for its type, nothing is executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from trainguard.facts import model as model_facts
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.layers import LayerStep
from trainguard.facts.model import ModelFacts, OptimizerFacts
from trainguard.facts.steps import StepFacts
from trainguard.gather._json_bounds import demand_few_values
from trainguard.gather.run_layers import LayerReader

FOLDER = "trainguard"
STEPS_FILE = "steps.jsonl"
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"
STATE_FILE = "trainer_state.json"

MAX_STATE_BYTES = 256 * 2**20
MAX_LINE_BYTES = 2**20
MAX_STEPS = 1_000_000
MAX_FAILURES = 100
"""A failure that repeats says nothing new; each one is a finding."""

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
NOT_RECORDED = "a log does not record it; train with TrainGuardCallback"
#: KeyError: a field is missing; OverflowError: an infinite count, an integer longer than a float.
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError)
_FLOATS = (
    "loss",
    "model_loss",
    "logged_loss",
    "printed_loss",
    "eval_loss",
    "grad_norm",
    "update_ratio",
)
_COUNTS = (
    "step",
    "supervised_tokens",
    "gradients",
    "zero_gradients",
    "nonfinite_tensors",
    "sampled",
    "moved",
    "zeroed",
    "nonfinite_at_step",
)


def run_record(folder: Path) -> Path | None:
    """The best record of the run in this folder: live steps before the Trainer's state."""
    own = [folder / FOLDER / STEPS_FILE, folder / STATE_FILE]
    checkpoints = [checkpoint / STATE_FILE for checkpoint in _checkpoints(folder)]
    return next((file for file in [*own, *checkpoints] if file.is_file()), None)


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, latest first."""
    numbered = [
        (int(match[1][:18]), child)
        for child in folder.iterdir()
        if (match := _CHECKPOINT.fullmatch(child.name)) and child.is_dir()
    ]
    return [child for _, child in sorted(numbered, reverse=True)]


def run_evidence(record: Path, subject: str) -> Evidence:
    """The facts of a run, read from `steps.jsonl` or `trainer_state.json`; never raises.

    Args:
        record: the file.
        subject: the run's folder as the user named it.
    """
    facts: dict[type, Any] = {}
    try:
        live = record.name == STEPS_FILE
        facts = _from_steps(record) if live else {StepFacts: _from_state(record)}
    except _UNREADABLE as error:
        facts = {Failure: (Failure(f"reading {record.name}", f"{type(error).__name__}: {error}"),)}
    kinds = (StepFacts, ModelFacts, OptimizerFacts)
    return Evidence(
        subject=subject,
        kind="training run",
        facts=facts,
        absent={kind: NOT_RECORDED for kind in kinds if kind not in facts},
        path=str(record),
    )


def _from_steps(record: Path) -> dict[type, Any]:
    steps: dict[int, StepFacts] = {}
    failures: list[Failure] = []
    facts: dict[type, Any] = {}
    layers = LayerReader()
    for entry in _entries(record):
        kind = entry.pop("kind", None)
        if kind == "model":
            facts[ModelFacts] = model_facts.from_dict(ModelFacts, _typed(ModelFacts, entry))
        elif kind == "optimizer":
            facts[OptimizerFacts] = _optimizer(entry)
        elif kind == "failure" and len(failures) < MAX_FAILURES:
            failures.append(Failure(str(entry["what"]), str(entry["error"])))
        elif kind == "step":
            step = step_from_json(entry)
            steps[step.step] = step
        elif kind == "log":
            log = step_from_json(entry)
            steps[log.step] = with_log(steps.get(log.step), log)
        elif kind == "layers":
            layers.name(entry)
        elif kind == "layer-step":
            layers.add(entry)
    if failures:
        facts[Failure] = tuple(failures)
    if layers.steps:
        facts[LayerStep] = layers.steps
    return facts | {StepFacts: tuple(steps[number] for number in sorted(steps))}


def _optimizer(entry: dict[str, Any]) -> OptimizerFacts:
    facts = model_facts.from_dict(OptimizerFacts, _typed(OptimizerFacts, entry))
    if facts.missing_tensors and not facts.missing:
        raise ValueError(f"{facts.missing_tensors} parameters are missing, none is named")
    return facts


def _typed(kind: type, entry: dict[str, Any]) -> dict[str, Any]:
    """The entry itself, if each field that the facts know has the type that they state."""
    for field in fields(kind):
        if field.name in entry and not _IS_OF_TYPE[str(field.type)](entry[field.name]):
            raise TypeError(f"{field.name} is {entry[field.name]!r}, not {field.type}"[:200])
    return entry


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


#: By the annotation of a field of `ModelFacts` or `OptimizerFacts`; JSON has lists for tuples.
_IS_OF_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int,
    "bool": lambda value: isinstance(value, bool),
    "str | None": lambda value: value is None or isinstance(value, str),
    "tuple[str, ...]": _is_names,
}


def _entries(record: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record; a last line that a killed run left unfinished is dropped."""
    with record.open("rb") as lines:
        for number in range(1, MAX_STEPS + 1):
            line = lines.readline(MAX_LINE_BYTES)
            if not line.endswith(b"\n"):
                if len(line) == MAX_LINE_BYTES:
                    raise ValueError(f"line {number} is longer than {MAX_LINE_BYTES} bytes")
                return
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from None
            if not isinstance(entry, dict):
                raise ValueError(f"line {number} is not an object")
            yield entry


def _from_state(record: Path) -> tuple[StepFacts, ...]:
    size = record.stat().st_size
    if size > MAX_STATE_BYTES:
        raise ValueError(f"{size} bytes; more than {MAX_STATE_BYTES} are not read")
    content = record.read_bytes()
    demand_few_values(content)
    state = json.loads(content)
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise ValueError("it has no log_history")
    return tuple(steps_from_logs(entry for entry in history if isinstance(entry, dict)))


def steps_from_logs(entries: Iterable[Mapping[str, Any]]) -> Iterator[StepFacts]:
    """The steps of a Trainer's history, each with its evaluation; summaries are left out."""
    steps: dict[int, StepFacts] = {}
    for entry in entries:
        step = entry.get("step")
        if not isinstance(step, int) or step < 1:
            continue
        if (log := log_facts(entry, step) or _evaluation(entry, step)) is not None:
            steps[step] = with_log(steps.get(step), log)
    return (steps[number] for number in sorted(steps))


def _evaluation(entry: Mapping[str, Any], step: int) -> StepFacts | None:
    loss = _float(entry.get("eval_loss"))
    return None if loss is None else StepFacts(step=step, eval_loss=loss)


def log_facts(entry: Mapping[str, Any], step: int) -> StepFacts | None:
    """What one training log line states; None if it is none.

    The Trainer logs `grad_norm` before clipping and the learning rate of the first group only.
    """
    if "loss" not in entry:
        return None
    rate = _float(entry.get("learning_rate"))
    return StepFacts(
        step=step,
        logged_loss=_float(entry["loss"]),
        grad_norm=_float(entry.get("grad_norm")),
        learning_rates=None if rate is None else (rate,),
    )


#: What only a log states, or becomes known of a step when it is over.
_SAID = (
    "logged_loss",
    "printed_loss",
    "eval_loss",
    "ranks",
    "ranks_apart",
    "ranks_apart_tensors",
)


def with_log(step: StepFacts | None, log: StepFacts) -> StepFacts:
    """A step together with what the log says of it; what was seen live stays."""
    if step is None:
        return log
    said = {name: getattr(log, name) for name in _SAID}
    return replace(
        step,
        **{name: value for name, value in said.items() if value not in (None, ())},
        grad_norm=log.grad_norm if step.grad_norm is None else step.grad_norm,
        learning_rates=step.learning_rates or log.learning_rates,
    )


def step_to_json(step: StepFacts) -> dict[str, Any]:
    """The observed fields as strict JSON values: a non-finite number becomes a string."""
    return {name: _strict(value) for name, value in step.to_dict().items()}


def step_from_json(entry: Mapping[str, Any]) -> StepFacts:
    """The inverse of `step_to_json`; raises ValueError or TypeError on a foreign value."""
    values: dict[str, Any] = {
        **{name: float(entry[name]) for name in _FLOATS if entry.get(name) is not None},
        **{name: int(entry[name]) for name in _COUNTS if entry.get(name) is not None},
    }
    if entry.get("learning_rates") is not None:
        values["learning_rates"] = [float(rate) for rate in entry["learning_rates"]]
    if isinstance(entry.get("stepped"), bool):
        values["stepped"] = entry["stepped"]
    names = entry.get("nonfinite_gradients") or ()
    return StepFacts.from_dict({**values, "nonfinite_gradients": [str(name) for name in names]})


def _strict(value: Any) -> Any:
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return str(value)
    return value


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
