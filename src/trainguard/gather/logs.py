"""The log of a training run, where that is all there is: console output, tables, event files.

Files are untrusted: they are read as a stream, numbers are parsed, nothing is evaluated.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.model import ModelFacts, OptimizerFacts
from trainguard.facts.steps import StepFacts
from trainguard.gather.adapter_files import UnreadableError, open_regular
from trainguard.gather.log_console import console_entries
from trainguard.gather.log_entries import LogEntry
from trainguard.gather.log_files import CONSOLES, EVENTS
from trainguard.gather.log_tables import csv_entries, jsonl_entries
from trainguard.gather.log_tensorboard import MISSING, event_entries
from trainguard.gather.log_text import opened
from trainguard.gather.run import NOT_RECORDED, with_log

MAX_ENTRIES = 250_000
"""Entries of one log that are read, the first ones."""
MAX_RUNS = 100
"""Runs of one log that are judged, the first ones."""

Reader = Callable[[TextIO], Iterator[LogEntry]]

_TABLES: dict[str, Reader] = {".csv": csv_entries, ".jsonl": jsonl_entries}
#: A table begins with its entries; a console prints bars and warnings before the first one.
_TABLE_HEAD, _CONSOLE_HEAD = 2**16, 2**20


def logs_in(folder: Path) -> list[Path]:
    """The files of a folder that begin as training logs do; event files only without others."""
    files = sorted(folder.iterdir())
    logs = [path for path in files if _begins_as_log(path)]
    return logs or [path for path in files if path.name.startswith(EVENTS)]


def _begins_as_log(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in _TABLES and suffix not in CONSOLES:
        return False
    try:
        with open_regular(path) as file:
            head = file.read(_TABLE_HEAD if suffix in _TABLES else _CONSOLE_HEAD)
    except (OSError, UnreadableError):
        return False
    return any(entry.is_training for entry in _reader(path)(opened(io.BytesIO(head))))


def _reader(path: Path) -> Reader:
    return _TABLES.get(path.suffix.lower(), console_entries)


def log_evidence(path: Path) -> Iterator[Evidence]:
    """The facts of each run in a log file, if it holds any; never raises on what it holds."""
    if path.name.startswith(EVENTS):
        yield from _event_evidence(path)
        return
    try:
        with open_regular(path) as file:
            yield from stream_evidence(file, str(path), _reader(path))
    except UnreadableError as error:
        yield _evidence(str(path), {Failure: (Failure(f"reading {path.name}", f"it {error}"),)})


def stream_evidence(
    stream: BinaryIO, subject: str, reader: Reader = console_entries
) -> Iterator[Evidence]:
    """The facts of each run in a log that is read as a stream; the stream stays open.

    Args:
        stream: bytes of any kind; a line of any length.
        subject: what findings call it.
        reader: of one format; console output by default, dicts in JSON included.
    """
    text = opened(stream)
    try:
        yield from _evidences(subject, reader(text))
    except OSError as error:
        yield _evidence(subject, {Failure: (Failure(f"reading {subject}", str(error)),)})
    finally:
        text.detach().detach()  # type: ignore[attr-defined]


def _event_evidence(path: Path) -> Iterator[Evidence]:
    subject = str(path)
    try:
        yield from _evidences(subject, event_entries(path))
    except ImportError:
        yield _evidence(subject, {}, absent=MISSING)
    except Exception as error:  # what TensorBoard's reader raises on a broken file is not stated
        failure = Failure(f"reading {path.name}", f"{type(error).__name__}: {error}")
        yield _evidence(subject, {Failure: (failure,)})


def _evidences(subject: str, entries: Iterator[LogEntry]) -> Iterator[Evidence]:
    runs = [run for run in _runs(islice(entries, MAX_ENTRIES)) if _is_training(run)]
    if next(entries, None) is not None or len(runs) > MAX_RUNS:
        limit = f"only the first {MAX_ENTRIES} entries and {MAX_RUNS} runs are read"
        yield _evidence(subject, {Failure: (Failure(f"reading {subject}", limit),)})
    for number, run in enumerate(runs[:MAX_RUNS], 1):
        name = f"{subject} (run {number} of {len(runs)})" if len(runs) > 1 else subject
        yield _evidence(name, {StepFacts: _steps(run)}, path=subject)


def _evidence(
    subject: str, facts: dict[type, Any], *, path: str | None = None, absent: str = NOT_RECORDED
) -> Evidence:
    kinds = (StepFacts, ModelFacts, OptimizerFacts)
    return Evidence(
        subject=subject,
        kind="training log",
        facts=facts,
        absent={kind: absent for kind in kinds if kind not in facts},
        path=path,
    )


def _is_training(run: Iterable[LogEntry]) -> bool:
    return any(entry.is_training for entry in run)


def _runs(entries: Iterable[LogEntry]) -> Iterator[list[LogEntry]]:
    """The entries, divided where the training began again or went back to a checkpoint."""
    run: list[LogEntry] = []
    for entry in entries:
        if run and _is_earlier(entry, run[-1]):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _is_earlier(entry: LogEntry, than: LogEntry) -> bool:
    # A bar may count the batches of an epoch, so that the steps fall where the training goes on.
    if entry.epoch is not None and than.epoch is not None:
        return entry.epoch < than.epoch
    return entry.step is not None and than.step is not None and entry.step < than.step


def _steps(run: list[LogEntry]) -> tuple[StepFacts, ...]:
    """A run's steps, each with the evaluation that follows it; one before them all is left out."""
    stated = [entry.step for entry in run if entry.is_training]
    known = None not in stated and all(a < b for a, b in pairwise(stated))  # type: ignore[operator]
    steps: dict[int, StepFacts] = {}
    for entry in run:
        number = entry.step if known else len(steps) + entry.is_training
        number = max(steps, default=0) if number is None else number
        if number > 0 or entry.is_training:
            steps[number] = with_log(steps.get(number), _facts(entry, number, known))
    return tuple(steps[number] for number in sorted(steps))


def _facts(entry: LogEntry, step: int, known: bool) -> StepFacts:
    return StepFacts(
        step=step,
        step_unknown=not known,
        line=entry.line,
        logged_loss=entry.loss,
        grad_norm=entry.grad_norm,
        learning_rates=None if entry.learning_rate is None else (entry.learning_rate,),
        eval_loss=entry.eval_loss,
    )
