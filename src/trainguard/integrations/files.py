"""Files (and live models) as a way in: recognise what is there, gather, judge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainguard.engine import judge
from trainguard.facts.evidence import Evidence
from trainguard.facts.intent import Intent, Purpose
from trainguard.facts.model import ModelFacts
from trainguard.findings import Report, Severity
from trainguard.gather.adapter import adapter_evidence, is_adapter
from trainguard.gather.run import FOLDER, STATE_FILE, STEPS_FILE, run_evidence, run_record
from trainguard.registry import select

#: Folders that hold other people's files, however large they are.
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


def check(
    *targets: Any,
    purpose: Purpose | None = None,
    chosen: Iterable[str] = (),
    ignored: Iterable[str] = (),
    fail_on: Severity | None = Severity.ERROR,
) -> Report:
    """Check every adapter, checkpoint and training run at or under some paths, or live models.

    Args:
        targets: files, folders or torch modules; the current folder if there are none.
        purpose: what the files are about to be used for, "train" or "infer"; None if unknown.
        chosen: codes, code prefixes or names of the checks to run; all if empty.
        ignored: codes, code prefixes or names to leave out.
        fail_on: the mildest severity that makes the report's exit code 1; None never does.

    Raises:
        FileNotFoundError: a path does not exist.
        UnknownCheckError: `chosen` or `ignored` matches no check.
    """
    checks = select(chosen, ignored)
    intent = Intent(purpose)
    evidences = [e for target in targets or (".",) for e in _of(target, intent)]
    return judge(evidences, checks, fail_on=fail_on)


def _of(target: Any, intent: Intent) -> Iterator[Evidence]:
    if hasattr(target, "named_parameters"):
        from trainguard.gather.model import model_facts, unwrapped_model

        facts = {ModelFacts: model_facts(unwrapped_model(target)), Intent: intent}
        yield Evidence(subject=type(target).__name__, kind="model", facts=facts)
    else:
        yield from gather(Path(target), intent)


def gather(path: Path, intent: Intent) -> Iterator[Evidence]:
    """The facts of everything recognised at or under a path, in a stable order.

    Raises:
        FileNotFoundError: the path does not exist.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_file():
        yield from _file(path, intent)
        return
    yield from _folders(path, intent)


def _file(path: Path, intent: Intent) -> Iterator[Evidence]:
    if path.name in (STATE_FILE, STEPS_FILE):
        yield run_evidence(path, str(path))
    elif path.name.startswith("adapter_"):
        yield adapter_evidence(path.parent, intent)


def _folders(top: Path, intent: Intent) -> Iterator[Evidence]:
    runs: list[Path] = []
    for folder in _walk(top):
        run = _enclosing(folder, runs)
        record = run_record(folder) if run is None else None
        if record is not None:
            runs.append(folder)
            run = folder
            yield run_evidence(record, str(folder))
        if is_adapter(folder):
            yield adapter_evidence(folder, intent, scope=str(run) if run else "")


def _walk(top: Path) -> Iterator[Path]:
    """Folders from the top down, by name; links to folders are not followed."""
    for root, names, files in os.walk(top):
        names[:] = sorted(name for name in names if not _is_foreign(Path(root), name))
        if "pyvenv.cfg" in files:
            names.clear()
            continue
        yield Path(root)


def _is_foreign(root: Path, name: str) -> bool:
    """A hidden or third-party folder, or the record of a run, which is read with the run."""
    is_record = name == FOLDER and (root / name / STEPS_FILE).is_file()
    return name in SKIPPED or name.startswith(".") or is_record


def _enclosing(folder: Path, runs: Sequence[Path]) -> Path | None:
    """The run whose output folder this lies in: its checkpoints and adapters belong to it."""
    return next((run for run in reversed(runs) if folder.is_relative_to(run)), None)
