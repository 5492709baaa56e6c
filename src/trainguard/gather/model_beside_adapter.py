"""A full model in an adapter's folder: whether its weights are still those of the base model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from trainguard.facts.adapter import AdapterConfig, AdapterTensors
from trainguard.facts.adapter_comparison import ModelBesideAdapter
from trainguard.gather._tensor_bytes import same_bytes
from trainguard.gather.adapter_files import UnreadableError, open_regular
from trainguard.gather.base_model import headers, weight_files
from trainguard.gather.full_model import is_full_model
from trainguard.gather.safetensors import SafetensorsError, StoredTensor

_MOST = 4
"""Weights that are compared: a merge changes those of every adapted module."""

_Stored = dict[str, tuple[Path, StoredTensor]]


def model_beside(
    folder: Path, config: AdapterConfig, tensors: AdapterTensors
) -> ModelBesideAdapter | None:
    """How the model that shares the adapter's folder compares with the base; None without one.

    Never raises on what the files hold.
    """
    if not is_full_model(folder):
        return None
    base = config.text("base_model_name_or_path") or ""
    try:
        if not base or not Path(base).is_dir():
            return ModelBesideAdapter(base=base, problem="the base model is not on this disk")
        return _compared(base, _stored(folder), _stored(Path(base)), tensors.modules())
    except (OSError, SafetensorsError, UnreadableError, ValueError) as error:
        return ModelBesideAdapter(base=base, problem=f"the two models cannot be compared: {error}")


def _compared(
    base: str, ours: _Stored, theirs: _Stored, modules: Iterable[str]
) -> ModelBesideAdapter:
    pairs = list(islice(_pairs(ours, theirs, modules), _MOST))
    if not pairs:
        problem = "it has no weight of an adapted module in the base model's name, type and shape"
        return ModelBesideAdapter(base=base, problem=problem)
    changed = tuple(name for name in pairs if not _is_same(ours[name], theirs[name]))
    return ModelBesideAdapter(base=base, compared=len(pairs), changed=changed)


def _pairs(ours: _Stored, theirs: _Stored, modules: Iterable[str]) -> Iterator[str]:
    """Names of the adapted modules' weights that both models have alike but for the values."""
    for name in (f"{module}.weight" for module in modules):
        if name in ours and name in theirs:
            a, b = ours[name][1], theirs[name][1]
            if (a.dtype, a.shape) == (b.dtype, b.shape):
                yield name


def _is_same(ours: tuple[Path, StoredTensor], theirs: tuple[Path, StoredTensor]) -> bool:
    with open_regular(ours[0]) as left, open_regular(theirs[0]) as right:
        return same_bytes(left, ours[1], right, theirs[1])


def _stored(folder: Path) -> _Stored:
    return {
        tensor.name: (path, tensor) for path in weight_files(folder) for tensor in headers(path)
    }
