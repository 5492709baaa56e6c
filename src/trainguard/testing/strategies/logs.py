"""Logs of training runs: the Trainer's `trainer_state.json` or trainguard's `steps.jsonl`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from trainguard.facts.steps import StepFacts
from trainguard.gather.run import FOLDER, STATE_FILE, STEPS_FILE, step_to_json

Entry = dict[str, Any]
Form = Literal["trainer_state", "steps"]
_PEAK = 2e-4


@dataclass(frozen=True)
class TrainingLog:
    """What a run logged, one entry per optimizer step; `save` writes it."""

    entries: tuple[Entry, ...]
    """As in `log_history`: step, loss, grad_norm, learning_rate."""
    form: Form
    fault: str | None = None
    """Name of the check that finds what is wrong; None if nothing is."""

    def save(self, folder: str | Path) -> Path:
        """Write the record of a run into a folder that exists; returns the folder."""
        place = Path(folder)
        if self.form == "trainer_state":
            state = {"global_step": len(self.entries), "log_history": list(self.entries)}
            (place / STATE_FILE).write_text(json.dumps(state))
            return place
        (place / FOLDER).mkdir(exist_ok=True)
        lines = [json.dumps({"kind": "step", **step_to_json(_facts(e))}) for e in self.entries]
        (place / FOLDER / STEPS_FILE).write_text("".join(f"{line}\n" for line in lines))
        return place


@st.composite
def training_logs(
    draw: st.DrawFn, *, fault: str | None = None, form: Form | None = None
) -> TrainingLog:
    """Logs of 30 to 80 steps whose loss falls towards a floor, with a warm-up and linear decay.

    Args:
        draw: given by hypothesis.
        fault: one of `LOG_FAULTS`, planted in the second half; None leaves the log healthy.
        form: the file that `save` writes; either if None.

    Raises:
        ValueError: there is no such fault.
    """
    if fault is not None and fault not in _FAULTS:
        raise ValueError(f"no fault is called {fault!r}; there are {', '.join(LOG_FAULTS)}")
    count = draw(st.integers(30, 80))
    start = draw(st.floats(1.5, 8.0))
    floor = start * draw(st.floats(0.3, 0.6))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    warm = max(1, count // 10)
    entries = []
    for step in range(1, count + 1):
        level = floor + (start - floor) * math.exp(-4 * step / count)
        rate = _PEAK * min(step / warm, (count - step + 1) / (count - warm + 1))
        entries.append(
            {
                "step": step,
                "loss": round(level * (1 + 0.02 * float(random.uniform(-1, 1))), 4),
                "grad_norm": round(float(random.uniform(0.5, 1.0)), 6),
                "learning_rate": rate,
            }
        )
    if fault is not None:
        entries = _FAULTS[fault](entries)
    forms: tuple[Form, ...] = (form,) if form else ("trainer_state", "steps")
    return TrainingLog(tuple(entries), draw(st.sampled_from(forms)), fault)


def _facts(entry: Entry) -> StepFacts:
    return StepFacts(
        step=entry["step"],
        loss=entry.get("true_loss", entry["loss"]),
        logged_loss=entry["loss"],
        grad_norm=entry["grad_norm"],
        learning_rates=(entry["learning_rate"],),
    )


def _from_the_middle(entries: list[Entry], **values: Any) -> list[Entry]:
    middle = len(entries) // 2
    return [e if index < middle else {**e, **values} for index, e in enumerate(entries)]


def _hidden_nan(entries: list[Entry]) -> list[Entry]:
    """As `logging_nan_inf_filter` shows it."""
    return _from_the_middle(entries, loss=0.0, grad_norm=math.nan, true_loss=math.nan)


def _constant(entries: list[Entry]) -> list[Entry]:
    return [{**entry, "loss": entries[0]["loss"]} for entry in entries]


def _diverging(entries: list[Entry]) -> list[Entry]:
    """It jumps to four times its beginning and climbs on."""
    middle = len(entries) // 2
    rise = [entries[0]["loss"] * (4 + 0.05 * n) for n in range(len(entries) - middle)]
    return [
        *entries[:middle],
        *({**e, "loss": loss} for e, loss in zip(entries[middle:], rise, strict=True)),
    ]


def _no_rate(entries: list[Entry]) -> list[Entry]:
    return [{**entry, "learning_rate": 0.0} for entry in entries]


def _no_gradient(entries: list[Entry]) -> list[Entry]:
    """The loss wanders with the batches and does not fall."""
    first = entries[0]["loss"]
    return [
        {**entry, "grad_norm": 0.0, "loss": first * (1 + 0.02 * math.sin(7.0 * entry["step"]))}
        for entry in entries
    ]


_FAULTS: Mapping[str, Callable[[list[Entry]], list[Entry]]] = {
    "constant-loss": _constant,
    "diverging-loss": _diverging,
    "hidden-nan-loss": _hidden_nan,
    "zero-gradients": _no_gradient,
    "zero-learning-rate": _no_rate,
}
LOG_FAULTS = tuple(_FAULTS)
