"""The checkpoints in a run's folder become facts. No torch, and nothing is ever unpickled."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from trainguard.facts.adapter import TensorFacts
from trainguard.facts.checkpoint import OPTIMIZER, CheckpointFacts, finished
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.intent import Intent
from trainguard.gather._objects import read_object, text, whole
from trainguard.gather._optimizer import is_empty, nonfinite_state
from trainguard.gather.adapter_files import UnreadableError, open_regular, size_of
from trainguard.gather.checkpoint_weights import MODEL_NAME, Weights, glance, settled
from trainguard.gather.run import MAX_STATE_BYTES, STATE_FILE
from trainguard.gather.safetensors import SafetensorsError, read_header

MOST = 1000
"""Checkpoints of one run that are looked at, the latest ones."""

_NAME = re.compile(r"checkpoint-(\d{1,18})")
_MOST_NAMES = 10_000
#: What DeepSpeed and FSDP write into a checkpoint; either keeps the optimizer in files of its own.
_SHARDED = re.compile(r"latest|global_step\d+|zero_to_fp32\.py|pytorch_model_fsdp.*|rank\d+-of-.*")


def with_checkpoints(evidence: Evidence, run: Path, intent: Intent) -> Evidence:
    """A run's evidence together with its checkpoints; never raises on what the files hold.

    Args:
        evidence: of the run.
        run: its folder, or a checkpoint that was named by itself.
        intent: what the files are about to be used for.
    """
    folders = checkpoint_folders(run)
    if not folders:
        return evidence
    failures: list[Failure] = list(evidence.facts.get(Failure, ()))
    states = [_state(folder, failures, skip=evidence.path) for folder in folders]
    weights = settled(folders, [glance(folder) for folder in folders])
    found = tuple(
        _facts(folder, state, seen)
        for folder, state, seen in zip(folders, states, weights, strict=True)
    )
    found = _with_optimizer_values(found)
    facts: dict[type, Any] = {**evidence.facts, CheckpointFacts: found, Intent: intent}
    if failures:
        facts[Failure] = tuple(failures)
    return replace(evidence, facts=facts)


def _with_optimizer_values(found: tuple[CheckpointFacts, ...]) -> tuple[CheckpointFacts, ...]:
    """The values of the last optimizer alone, from which the run goes on: NaN stays in it."""
    last = finished(found)[-1:]
    return tuple(
        replace(one, optimizer_nonfinite=nonfinite_state(Path(one.folder, OPTIMIZER)))
        if one in last and OPTIMIZER in one.files
        else one
        for one in found
    )


def is_checkpoint_name(name: str) -> bool:
    """Whether a folder of this name is one step's checkpoint."""
    return _NAME.fullmatch(name) is not None


def checkpoint_folders(run: Path) -> list[Path]:
    """The `checkpoint-N` folders of a run by their number; a folder counts once, links aside."""
    if _NAME.fullmatch(run.resolve().name):
        return [run]
    numbered: dict[Path, int] = {}
    try:
        for child in sorted(run.iterdir()):
            if (match := _NAME.fullmatch(child.name)) and child.is_dir():
                numbered.setdefault(child.resolve(), int(match[1]))
                if not child.is_symlink():
                    numbered[child.resolve()] = int(match[1])
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return []
    latest = sorted(numbered.items(), key=lambda item: item[1])[-MOST:]
    return [_as_named(run, real) for real, _ in latest]


def _as_named(run: Path, real: Path) -> Path:
    beside = run / real.name
    return beside if beside.is_dir() else real


def _state(folder: Path, failures: list[Failure], skip: str | None) -> dict[str, Any]:
    """The fields of `trainer_state.json`; a file that is there but broken is a failure."""
    path = folder / STATE_FILE
    if not os.path.lexists(path):
        return {}
    try:
        return read_object(path, MAX_STATE_BYTES)
    except UnreadableError as error:
        if str(path) != skip:  # the run's own evidence reports the file that it is read from
            failures.append(
                Failure(f"reading {folder.name}/{STATE_FILE}", f"UnreadableError: it {error}")
            )
        return {}


def _facts(folder: Path, state: dict[str, Any], weights: Weights) -> CheckpointFacts:
    files = dict(_sizes(folder))
    best = text(state.get("best_model_checkpoint"))
    metric = state.get("best_metric")
    match = _NAME.fullmatch(folder.resolve().name)
    return CheckpointFacts(
        folder=str(folder),
        run=str(folder.resolve().parent),
        number=int(match[1]) if match else None,
        global_step=whole(state.get("global_step")),
        max_steps=whole(state.get("max_steps")),
        best_model_checkpoint=best,
        best_exists=best is not None and _exists(best, folder),
        best_metric=metric if isinstance(metric, float) else None,
        files=files,
        sharded_state=any(_SHARDED.fullmatch(name) for name in files),
        weights=weights.token,
        weight_bytes=weights.size,
        adapter_in_model=MODEL_NAME in files and _holds_adapter(folder / MODEL_NAME),
        optimizer_is_empty=is_empty(folder / OPTIMIZER) if OPTIMIZER in files else None,
    )


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Files and folders by name; links to nothing and special files are not there."""
    try:
        with os.scandir(folder) as entries:
            for entry, _ in zip(entries, range(_MOST_NAMES), strict=False):
                # Unlike the entry's own methods these take a loop of links for nothing.
                if os.path.isdir(entry.path):  # noqa: PTH112
                    yield entry.name, 0
                elif os.path.isfile(entry.path):  # noqa: PTH113
                    yield entry.name, entry.stat().st_size
    except OSError:
        return


def _exists(best: str, folder: Path) -> bool:
    """Whether the best checkpoint is where it was, or where a moved run would have it."""
    try:
        return Path(best).is_dir() or (folder.resolve().parent / last_name(best)).is_dir()
    except (OSError, ValueError):
        return False


def last_name(path: str) -> str:
    r"""The last part of a path that may come from Windows: `C:\out\checkpoint-5`."""
    return (PureWindowsPath(path) if "\\" in path else PurePath(path)).name


def _holds_adapter(path: Path) -> bool:
    """Whether the names are those of a whole PeftModel, which the Trainer loads in full."""
    try:
        with open_regular(path) as file:
            names = [tensor.name for tensor in read_header(file, size_of(file))]
    except (OSError, SafetensorsError, UnreadableError):
        return False
    parts = (TensorFacts(name=name, dtype="", shape=()) for name in names)
    return any(part.name.startswith("base_model.") and part.is_added for part in parts)
