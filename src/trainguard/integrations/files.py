"""Files (and live models) as a way in: recognise what is there, gather, judge."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainguard.baseline import Baseline
from trainguard.config import Settings
from trainguard.engine import judge
from trainguard.facts.adapter import AdapterFiles
from trainguard.facts.evidence import Evidence
from trainguard.facts.intent import Intent, Purpose, Target
from trainguard.facts.model import ModelFacts
from trainguard.facts.pickles import PickleFacts
from trainguard.findings import Report, Severity
from trainguard.gather.adapter import adapter_evidence, is_adapter
from trainguard.gather.base_model import with_base
from trainguard.gather.data_names import DATA_SUFFIXES, may_be_data
from trainguard.gather.full_model import full_model_evidence, is_full_model
from trainguard.gather.log_files import may_be_log
from trainguard.gather.pickle_files import scan_folder
from trainguard.gather.run import FOLDER, STATE_FILE, STEPS_FILE, run_evidence, run_record
from trainguard.gather.source_files import SUFFIXES, may_be_source

STDIN = "-"
"""The subject that stands for standard input."""

#: Folders that hold other people's files, however large they are.
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


def check(
    *subjects: Any,
    purpose: Purpose | None = None,
    target: Target | None = None,
    base: str | Path | None = None,
    against: Sequence[str | Path] = (),
    chosen: Iterable[str] = (),
    ignored: Iterable[str] = (),
    fail_on: Severity | None = Severity.ERROR,
    settings: Settings | None = None,
    baseline: Baseline | None = None,
    stdin_name: str | None = None,
) -> Report:
    """Check every adapter, model, checkpoint and run at or under some paths, or live models.

    Args:
        subjects: files, folders or torch modules; "-" is a log, a script or a config on standard
            input; the current folder if there are none.
        purpose: what the files are about to be used for, "train" or "infer"; None if unknown.
        target: the program that will load the adapters; None stands for PEFT.
        base: folder of the adapters' base model, whose headers they are compared with; None
            takes the folder that an adapter's config names, if there is one.
        against: data files that are held out for evaluation, whatever their names, to compare the
            data sets with.
        chosen: codes, code prefixes or names of the checks to run; all if empty.
        ignored: codes, code prefixes or names to leave out.
        fail_on: the mildest severity that makes the report's exit code 1; None never does.
        settings: of the project, as `trainguard.config.discover` reads them; they take the place
            of `chosen`, `ignored` and `fail_on`. Without them no settings are read.
        baseline: accepted findings, which are reported apart.
        stdin_name: what a file with the content of standard input would be called; None decides
            by the content.

    Raises:
        FileNotFoundError: a path does not exist, or standard input is closed.
        UnknownCheckError: `chosen` or `ignored` matches no check.
    """
    own = settings or Settings(select=tuple(chosen), ignore=tuple(ignored), fail_on=fail_on)
    looked_for = Wanted(
        Intent(purpose, target), base, tuple(map(Path, against)), own.excludes, stdin_name
    )
    evidences = (e for subject in subjects or (".",) for e in _of(subject, looked_for))
    return judge(
        evidences,
        own.selected,
        fail_on=own.fail_on,
        excused=own.excused,
        is_known=baseline.holds if baseline is not None else lambda finding: False,
    )


@dataclass(frozen=True)
class Wanted:
    """What a user says about the files besides their paths."""

    intent: Intent
    base: str | Path | None = None
    against: tuple[Path, ...] = ()
    excludes: Callable[[Path], bool] = lambda path: False
    stdin_name: str | None = None


def _of(subject: Any, wanted: Wanted) -> Iterator[Evidence]:
    if hasattr(subject, "named_parameters"):
        from trainguard.gather.model import model_facts, unwrapped_model

        facts = {ModelFacts: model_facts(unwrapped_model(subject)), Intent: wanted.intent}
        yield Evidence(subject=type(subject).__name__, kind="model", facts=facts)
    elif subject == STDIN:
        if sys.stdin is None:
            raise FileNotFoundError("standard input is closed")
        from trainguard.gather.stdin import stdin_evidence

        yield from stdin_evidence(sys.stdin.buffer, wanted.stdin_name, wanted.intent)
    else:
        yield from gather(Path(subject), wanted)


def gather(path: Path, wanted: Wanted) -> Iterator[Evidence]:
    """The facts of everything recognised at or under a path, in a stable order.

    A path that the user names is looked at even where it is excluded from folders.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    for named in (path, *wanted.against):
        if not named.exists():
            raise FileNotFoundError(f"{named} does not exist")
    found = _file(path, wanted) if path.is_file() else _folders(path, wanted)
    for evidence in found:
        is_adapter_folder = AdapterFiles in evidence.facts
        yield with_base(evidence, wanted.base) if is_adapter_folder else evidence


def _file(path: Path, wanted: Wanted) -> Iterator[Evidence]:
    if path.suffix in SUFFIXES:  # named by the user, so a test is no reason to leave it out
        yield from _sources([path], path.parent, alone=True)
    elif path.name in (STATE_FILE, STEPS_FILE):
        yield run_evidence(path, str(path))
    elif path.name.startswith("adapter_"):
        yield adapter_evidence(path.parent, wanted.intent)
    elif path.name.startswith("model") and is_full_model(path.parent):
        yield _full_model(path.parent)
    elif path.suffix in DATA_SUFFIXES and (data := _data(path, [path], wanted.against)) is not None:
        yield data
    else:
        from trainguard.gather.logs import log_evidence

        yield from log_evidence(path)


def _folders(top: Path, wanted: Wanted) -> Iterator[Evidence]:
    runs: list[Path] = []
    sources: list[Path] = []
    for folder in _walk(top, wanted.excludes):
        files = [file for file in sorted(folder.iterdir()) if not wanted.excludes(file)]
        sources += [file for file in files if may_be_source(file, top)]
        record = _record(folder, _enclosing(folder, runs))
        if record is not None:
            runs.append(folder)
            yield _run(record, folder, wanted.intent)
        run = _enclosing(folder, runs)
        if run is None:  # a run's own record says more than what it printed
            yield from _logs(folder, files)
        scope = str(run) if run else ""
        yield from _data_in(folder, files, wanted.against, scope)
        if is_adapter(folder):
            yield adapter_evidence(folder, wanted.intent, scope=scope)
        if is_full_model(folder):
            yield _full_model(folder, scope=scope)
    yield from _sources(sources, top)


def _data_in(
    folder: Path, files: Sequence[Path], against: Sequence[Path], scope: str
) -> Iterator[Evidence]:
    """The data set that the files of a folder are; its reader is loaded only where names promise
    one.
    """
    named = [path for path in files if may_be_data(path)]
    data = _data(folder, named, against) if named else None
    if data is not None:
        yield replace(data, scope=scope)


def _data(subject: Path, files: Sequence[Path], against: Sequence[Path]) -> Evidence | None:
    from trainguard.gather.data import data_evidence

    return data_evidence(subject, files, against)


def _sources(paths: Sequence[Path], root: Path, *, alone: bool = False) -> Iterator[Evidence]:
    """Python files, read together; their reader is loaded only where there are any."""
    if paths:
        from trainguard.gather.source import source_evidence

        yield from source_evidence(paths, root, alone=alone)


def _logs(folder: Path, files: Sequence[Path]) -> Iterator[Evidence]:
    """The logs in a folder; their readers are loaded only where a name promises one."""
    if not any(map(may_be_log, files)):
        return
    from trainguard.gather.logs import log_evidence, logs_in

    for log in logs_in(folder):
        if log in files:
            yield from log_evidence(log)


def _full_model(folder: Path, scope: str = "") -> Evidence:
    """A model, and what loading the pickles beside it would import; an adapter has its own."""
    evidence = full_model_evidence(folder, scope=scope)
    if is_adapter(folder):
        return evidence
    return replace(evidence, facts={**evidence.facts, PickleFacts: scan_folder(folder)})


def _run(record: Path, folder: Path, intent: Intent) -> Evidence:
    from trainguard.gather.checkpoint import with_checkpoints

    return with_checkpoints(run_evidence(record, str(folder)), folder, intent)


def _record(folder: Path, run: Path | None) -> Path | None:
    """The record of a run that this folder holds; a folder of another run needs one of its own."""
    if run is None:
        return run_record(folder)
    from trainguard.gather.checkpoint import checkpoint_folders, is_checkpoint_name

    if is_checkpoint_name(folder.name):
        return None
    # A final model's copy of the run's state is no run, a sweep's trial with checkpoints is one.
    is_trial = checkpoint_folders(folder) or (folder / FOLDER / STEPS_FILE).is_file()
    return run_record(folder) if is_trial else None


def _walk(top: Path, excludes: Callable[[Path], bool]) -> Iterator[Path]:
    """Folders from the top down, by name; links to folders are not followed."""
    for root, names, files in os.walk(top):
        names[:] = sorted(
            name
            for name in names
            if not _is_foreign(Path(root), name) and not excludes(Path(root, name))
        )
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
