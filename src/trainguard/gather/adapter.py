"""A saved PEFT adapter: its folder becomes facts. No torch, and nothing is ever unpickled.

Weights in `adapter_model.bin` are found by following the opcodes of its pickle; see `pickles`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from trainguard.facts.adapter import (
    CONFIG_NAME,
    PICKLE_NAME,
    WEIGHTS_NAME,
    AdapterConfig,
    AdapterFiles,
    AdapterTensors,
    FileProblem,
    TensorFacts,
)
from trainguard.facts.adapter_comparison import AdapterFormats, ModelBesideAdapter
from trainguard.facts.evidence import Evidence
from trainguard.facts.intent import Intent
from trainguard.facts.pickles import PickleFacts
from trainguard.gather.adapter_config import read_config
from trainguard.gather.adapter_files import UnreadableError, failed, header_of, open_regular
from trainguard.gather.pickle_files import scan_folder
from trainguard.gather.safetensors import SafetensorsError, StoredTensor
from trainguard.gather.values import measured
from trainguard.gather.zero_tail import zero_tail

_NAMES = (CONFIG_NAME, WEIGHTS_NAME, PICKLE_NAME)
_UNSTATED = Intent()


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds a file that only a PEFT adapter has."""
    return bool(_present(Path(folder)))


def adapter_evidence(
    folder: str | Path,
    intent: Intent = _UNSTATED,
    scope: str = "",
) -> Evidence:
    """Everything that an adapter's files state.

    Never raises on what the files hold; what could not be read is absent, with the reason.

    Args:
        folder: of one adapter, not of several.
        intent: what the adapter is about to be used for.
        scope: the run it belongs to, if it is part of one.
    """
    root = Path(folder)
    names = _present(root)
    facts: dict[type, Any] = {Intent: intent}
    absent: dict[type, str] = {}
    problems: list[FileProblem] = []

    def note(kind: type, name: str, read: Callable[[Path], Any]) -> None:
        try:
            facts[kind] = read(root)
        except UnreadableError as error:
            absent[kind] = f"{name} {error}"
            problems.append(_problem(root / name, error))

    note(AdapterConfig, CONFIG_NAME, read_config)
    facts[PickleFacts] = scan_folder(folder)
    if PICKLE_NAME in names and WEIGHTS_NAME not in names:
        from trainguard.gather.pickles import UnplainError, read_tensors

        try:
            note(AdapterTensors, PICKLE_NAME, lambda root: read_tensors(root / PICKLE_NAME))
        except UnplainError as error:
            absent[AdapterTensors] = f"{PICKLE_NAME} {error}"
    else:
        note(AdapterTensors, WEIGHTS_NAME, _read_tensors)
    if {PICKLE_NAME, WEIGHTS_NAME} <= set(names):
        from trainguard.gather.adapter_formats import compare_formats

        facts[AdapterFormats] = compare_formats(root)
    if _exists(root / "config.json") and {AdapterConfig, AdapterTensors} <= facts.keys():
        from trainguard.gather.model_beside_adapter import model_beside

        model = model_beside(root, facts[AdapterConfig], facts[AdapterTensors])
        if model is not None:
            facts[ModelBesideAdapter] = model
    facts[AdapterFiles] = AdapterFiles(folder=str(folder), names=names, problems=tuple(problems))
    return Evidence(subject=str(folder), kind="adapter", facts=facts, absent=absent, scope=scope)


def _present(root: Path) -> tuple[str, ...]:
    return tuple(name for name in _NAMES if _exists(root / name))


def _exists(path: Path) -> bool:
    """Whether the name is taken, be it by a link to nothing, which is worth a finding."""
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def _problem(path: Path, error: UnreadableError) -> FileProblem:
    return FileProblem(path=str(path), what=str(error), fix=error.fix, line=error.line)


def _read_tensors(root: Path) -> AdapterTensors:
    path = root / WEIGHTS_NAME
    try:
        with open_regular(path) as file:
            header = header_of(file)
            return AdapterTensors(
                path=str(path),
                tensors=tuple(_tensors(file, header)),
                zero_tail=zero_tail(file, header),
            )
    except SafetensorsError as error:
        fix = "copy it again, or save the adapter again with save_pretrained"
        raise UnreadableError(str(error), fix=fix) from None
    except OSError as error:
        raise failed(error) from None


def _tensors(file: BinaryIO, header: Sequence[StoredTensor]) -> Iterator[TensorFacts]:
    for stored, found in zip(header, measured(file, header), strict=True):
        yield TensorFacts(
            name=stored.name,
            dtype=stored.dtype,
            shape=stored.shape,
            **(dataclasses.asdict(found) if found else {}),
        )
