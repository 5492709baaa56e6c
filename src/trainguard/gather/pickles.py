"""Pickled files become facts by following their opcodes: nothing is imported, called or loaded."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from trainguard.facts.adapter import AdapterTensors, FileProblem, brief
from trainguard.facts.pickles import PickleFacts, Reference
from trainguard.gather.adapter_files import UnreadableError, failed, misnamed, open_regular, size_of
from trainguard.gather.pickle_layouts import Scan, scan
from trainguard.gather.pickle_names import ARGUMENTS, OTHER, RANDOM_STATE, TENSORS, needed
from trainguard.gather.pickle_stream import BoundsError, PickleError
from trainguard.gather.pickle_tensors import UnplainError as UnplainError
from trainguard.gather.pickle_tensors import tensors_of
from trainguard.gather.pickle_values import COMPUTED, COMPUTED_CALL, OUTSIDE, Use
from trainguard.gather.safetensors import SafetensorsError

_FIX: Final = "copy or download it again; do not load it to find out what it holds"
_KINDS: Final[Mapping[str, str]] = {
    "adapter_model*.bin": TENSORS,
    "pytorch_model*.bin": TENSORS,
    "optimizer.pt": TENSORS,
    "optimizer.bin": TENSORS,
    "scheduler.pt": TENSORS,
    "scheduler.bin": TENSORS,
    "scaler.pt": TENSORS,
    "rng_state*.pth": RANDOM_STATE,
    "random_states_*.pkl": RANDOM_STATE,
    "training_args.bin": ARGUMENTS,
}
_PICKLE_STARTS: Final = (b"PK\x03\x04", *(bytes([0x80, number]) for number in range(6)))


def scan_file(path: str | Path) -> PickleFacts:
    """What loading one pickled file would fetch and call.

    Never raises on what the file holds, and executes nothing of it.
    """
    place = Path(path)
    kind, found = _kind(place.name), Scan()
    problem = None
    try:
        _scan(place, kind, found)
    except UnreadableError as error:
        problem = FileProblem(path=str(path), what=str(error), fix=error.fix)
    return PickleFacts(
        path=str(path),
        kind=kind,
        layout=found.layout,
        references=_references(kind, found),
        problem=problem,
    )


def read_tensors(path: Path) -> AdapterTensors:
    """The tensors of a file that torch.save wrote.

    Raises:
        UnreadableError: it cannot be read, or is broken.
        UnplainError: it holds something else than plain tensors.
    """
    try:
        with open_regular(path) as file:
            found = Scan()
            _scan_open(file, TENSORS, found)
            return AdapterTensors(path=str(path), tensors=tuple(tensors_of(file, found)))
    except (PickleError, SafetensorsError) as error:
        raise UnreadableError(str(error), fix=_FIX) from None
    except OSError as error:
        raise failed(error) from None


def _kind(name: str) -> str:
    kinds = (kind for pattern, kind in _KINDS.items() if fnmatch.fnmatchcase(name, pattern))
    return next(kinds, OTHER)


def _scan(path: Path, kind: str, found: Scan) -> None:
    try:
        with open_regular(path) as file:
            _scan_open(file, kind, found)
    except PickleError as error:
        raise UnreadableError(str(error), fix=_FIX) from None
    except OSError as error:
        raise failed(error) from None


def _scan_open(file: BinaryIO, kind: str, found: Scan) -> None:
    size = size_of(file)
    try:
        scan(file, size, found)
    except PickleError as error:
        _judge_error(file, size, kind, found, error)
    if kind != OTHER and found.layout == "pickle":
        raise PickleError("is a bare pickle, not a file that torch.save wrote")


def _judge_error(file: BinaryIO, size: int, kind: str, found: Scan, error: PickleError) -> None:
    """An unknown file that was no pickle in the first place has no fault."""
    file.seek(0)
    head = file.read(64)
    if head.startswith(_PICKLE_STARTS) or found.layout or isinstance(error, BoundsError):
        raise error
    # Text may spell a name by chance, but hardly a call.
    if kind == OTHER and not any(use.calls for use in found.uses.values()):
        found.uses.clear()
    if kind != OTHER or found.uses:
        raise misnamed(head, size) or error


def _references(kind: str, found: Scan) -> tuple[Reference, ...]:
    return tuple(
        Reference(
            name=_shown(path),
            count=max(use.count, len(use.calls)),
            called=_acts(path, use),
            needed=needed(kind, path, use),
        )
        for path, use in sorted(found.uses.items(), key=lambda item: item[0])
    )


def _acts(path: str, use: Use) -> bool:
    unknown = path in (COMPUTED, COMPUTED_CALL, OUTSIDE) or path.startswith("the copyreg extension")
    return unknown or use.changed or bool(use.calls)


def _shown(path: str) -> str:
    return brief(path if path.isprintable() else ascii(path)[1:-1])
