"""What a run leaves in its folder:

settings.json             what was asked for
data/                     train, valid and test questions, unless others were given
samples/drawn.jsonl       everything that was sampled (train rft)
rft.json                  what rejection has left of it: question, answer, reasoning
adapter_model.safetensors with its configuration and tokenizer, trainer_state.json
checkpoint-N/             to go on from
trainguard/               the steps as they were watched
runs/                     TensorBoard's log, if it is installed
metrics.json              scores before and after, with intervals
report.txt, report.json   the diagnosis
report.html               the same with the run's curves and layers, as a page
wrong.txt                 the wrong answers
curves.svg                loss, gradient norm, learning rate, and reward (train grpo)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from trainguard.findings import Report
from trainguard.integrations.run_pages import runs_of
from trainguard.reference.benchmark import BenchmarkResult
from trainguard.reference.data import write_json, write_text
from trainguard.reference.rft import Kept
from trainguard.reference.sft import STATE_FILE
from trainguard.report import html, text
from trainguard.report.curves import Panel, curves

if TYPE_CHECKING:
    from trainguard.reference.plan import Plan

PANELS = {
    "reward": "reward",
    "loss": "loss",
    "grad_norm": "gradient norm before clipping",
    "learning_rate": "learning rate",
}


class OtherRunError(ValueError):
    """A folder holds another run than the one that was asked for, or one that is going on."""


@dataclass(frozen=True)
class Results:
    """What came of a run."""

    before: BenchmarkResult
    before_cot: BenchmarkResult
    """With a worked example before each question."""
    after: BenchmarkResult
    kept: Kept | None
    """What rejection sampling has kept; None for SFT."""
    report: Report


@contextmanager
def claimed(folder: Path, plan: Plan) -> Iterator[None]:
    """Hold the folder for the run of `plan`, new or killed earlier.

    Raises `OtherRunError` if it holds a run with other settings, or another process is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            _claim(folder / "settings.json", asdict(plan))
            for partial in folder.glob(".partial-*"):
                shutil.rmtree(partial)
            yield
    except Timeout:
        raise OtherRunError(f"another process trains in {folder}") from None


def _claim(path: Path, settings: dict[str, Any]) -> None:
    if not path.exists():
        write_json(path, settings)
        return
    earlier = json.loads(path.read_bytes())
    other = [name for name in settings if earlier.get(name) != settings[name]]
    if other:
        name = other[0]
        raise OtherRunError(
            f"{path.parent} holds a run with {name} {earlier.get(name)!r}, not {settings[name]!r}; "
            f"delete it or use another folder"
        )


def write_results(folder: Path, results: Results) -> None:
    """Write metrics, diagnosis, wrong answers and curves; each file as a whole or not at all."""
    write_json(folder / "metrics.json", metrics(results))
    write_text(folder / "report.txt", text.full(results.report, verbose=True))
    write_text(folder / "report.json", results.report.to_json() + "\n")
    page = html.render(results.report, runs_of(results.report))
    write_text(folder / "report.html", page)
    write_text(folder / "wrong.txt", results.after.wrong())
    history = json.loads((folder / STATE_FILE).read_bytes())["log_history"]
    panels = [
        Panel(title, [(entry["step"], float(entry[key])) for entry in history if key in entry])
        for key, title in PANELS.items()
    ]
    write_text(folder / "curves.svg", curves([panel for panel in panels if panel.points]))


def metrics(results: Results) -> dict[str, Any]:
    """The figures of a run as JSON values."""
    figures: dict[str, Any] = {
        "before": _score(results.before),
        "before_cot": _score(results.before_cot),
        "after": _score(results.after),
    }
    if (kept := results.kept) is not None:
        figures["rft"] = {
            "samples": kept.samples,
            "right": kept.right,
            "asked": kept.asked,
            "covered": kept.covered,
            "coverage": kept.coverage,
            "kept": len(kept.questions),
        }
    causes = [{"code": one.code, "name": one.name} for one in results.report.causes]
    return figures | {"causes": causes}


def _score(result: BenchmarkResult) -> dict[str, Any]:
    return {
        "accuracy": result.accuracy,
        "interval": list(result.interval),
        "answer_rate": result.answer_rate,
        "count": result.count,
    }
