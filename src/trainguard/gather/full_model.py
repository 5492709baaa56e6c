"""A saved full model: its folder becomes facts. No torch, and nothing is ever unpickled.

Only regular files inside the folder are opened, whatever the index says; headers are always read,
values only of models up to a bound.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from trainguard.facts.adapter import FileProblem
from trainguard.facts.evidence import Evidence
from trainguard.facts.full_model import (
    CONFIG_NAME,
    INDEX_NAME,
    WEIGHTS_NAME,
    FullModelFacts,
    ModelTensor,
    Shard,
)
from trainguard.facts.tokenizer import TOKENIZER_NAME
from trainguard.gather._objects import read_object, text, whole
from trainguard.gather._shard_paths import escape_of
from trainguard.gather.adapter_files import UnreadableError, failed, header_of, open_regular
from trainguard.gather.safetensors import SafetensorsError, StoredTensor
from trainguard.gather.tokenizer import LARGEST_TOKENIZER, last_tokens
from trainguard.gather.values import measured

LARGEST = 4 * 2**30
"""Bytes of weights up to which the values are read."""
MOST_SHARDS = 4096
MOST_TENSORS = 1_000_000
"""Of all files; the largest models of experts have some 100 000."""

_LARGEST_CONFIG = 16 * 2**20
_LARGEST_INDEX = 64 * 2**20
_GENERATION = "generation_config.json"

_T = TypeVar("_T")


def is_full_model(folder: Path) -> bool:
    """Whether a folder holds the weights of a full model under the name the loaders look for."""
    return any(os.path.lexists(folder / name) for name in (WEIGHTS_NAME, INDEX_NAME))


def full_model_evidence(folder: Path, scope: str = "") -> Evidence:
    """Everything that a full model's files state; never raises on what they hold.

    Args:
        folder: of the model.
        scope: the run it belongs to, if it is part of one.
    """
    model = _Reader(folder).model()
    return Evidence(subject=str(folder), kind="model", facts={FullModelFacts: model}, scope=scope)


class _Reader:
    """Reads one folder and notes which of its files cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[FileProblem] = []

    def model(self) -> FullModelFacts:
        config = self._object(CONFIG_NAME, _LARGEST_CONFIG)
        weight_map = self._weight_map()
        names = [WEIGHTS_NAME] if weight_map is None else dict.fromkeys(weight_map.values())
        shards = list(self._shards(names, listed=weight_map is not None))
        total = sum(_size(self.folder / shard.name) for shard in shards if shard.is_read)
        if total <= LARGEST:
            shards = [self._with_values(shard) for shard in shards]
        highest, last = last_tokens(self._object(TOKENIZER_NAME, LARGEST_TOKENIZER))
        return FullModelFacts(
            folder=str(self.folder),
            **_config_fields(config, self._object(_GENERATION, _LARGEST_CONFIG)),
            weight_map=weight_map or {},
            shards=tuple(shards),
            highest_token=highest,
            last_tokens=last,
            values_skipped="" if total <= LARGEST else f"the model has more than {LARGEST} bytes",
            problems=tuple(self.problems),
        )

    def _object(self, name: str, largest: int) -> dict[str, Any]:
        if not os.path.lexists(self.folder / name):
            return {}
        return self._noted(name, lambda: read_object(self.folder / name, largest), {})

    def _noted(self, name: str, read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return read()
        except UnreadableError as error:
            self._note(name, error)
            return otherwise

    def _note(self, name: str, error: UnreadableError) -> None:
        fix = error.fix.replace("the adapter", "the model")
        path = str(self.folder / name)
        self.problems.append(FileProblem(path=path, what=str(error), fix=fix))

    def _weight_map(self) -> dict[str, str] | None:
        """Tensor to file; None if the single file is there, which loaders prefer."""
        if os.path.lexists(self.folder / WEIGHTS_NAME):
            return None
        index = self._object(INDEX_NAME, _LARGEST_INDEX)
        listed = index.get("weight_map")
        if isinstance(listed, dict):
            pairs = {key: file for key, file in listed.items() if text(key) and text(file)}
            if len(pairs) == len(listed) and len(set(pairs.values())) <= MOST_SHARDS:
                return pairs
        if index:
            fault = UnreadableError("has no usable weight_map", fix="save the model again")
            self._note(INDEX_NAME, fault)
        return {}

    def _shards(self, names: Iterable[str], *, listed: bool) -> Iterator[Shard]:
        left = MOST_TENSORS
        for name in names:
            if left <= 0:
                fault = UnreadableError("is not read: too many tensors", fix="check the index")
                yield self._unread(name, fault)
                continue
            shard = self._shard(name, listed=listed)
            left -= len(shard.tensors)
            yield shard

    def _shard(self, name: str, *, listed: bool) -> Shard:
        path = self.folder / name.replace("\0", "?")
        # A link in the place of the single file is the owner's own; an index may be anyone's.
        escape, by_link = escape_of(name, self.folder) if listed else ("", False)
        if escape:
            return Shard(name=name, escape=escape, by_link=by_link)
        if listed and not _exists(path):
            return Shard(name=name, missing=True)
        try:
            with open_regular(path) as file:
                stored = header_of(file)
        except (OSError, UnreadableError, SafetensorsError) as error:
            return self._unread(name, error)
        return Shard(name=name, tensors=tuple(_tensor(one) for one in stored))

    def _unread(self, name: str, error: Exception) -> Shard:
        if isinstance(error, SafetensorsError):
            error = UnreadableError(str(error), fix="copy, download or save the model again")
        elif isinstance(error, OSError):
            error = failed(error)
        assert isinstance(error, UnreadableError)
        self._note(name, error)
        return Shard(name=name, problem=str(error))

    def _with_values(self, shard: Shard) -> Shard:
        if not shard.is_read or not shard.tensors:
            return shard
        try:
            return replace(shard, tensors=_measured(self.folder / shard.name))
        except (OSError, UnreadableError, SafetensorsError) as error:
            return self._unread(shard.name, error)


def _measured(path: Path) -> tuple[ModelTensor, ...]:
    with open_regular(path) as file:
        header = header_of(file)
        return tuple(
            replace(_tensor(stored), nonfinite=found.nonfinite if found else None)
            for stored, found in zip(header, measured(file, header), strict=True)
        )


def _tensor(stored: StoredTensor) -> ModelTensor:
    return ModelTensor(name=stored.name, dtype=stored.dtype, shape=stored.shape)


def _exists(path: Path) -> bool:
    """Whether something is there; a link to nothing is not."""
    try:
        return path.exists()
    except OSError:  # such as a name that is too long, which opening reports
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _config_fields(config: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")
    both = {**(inner if isinstance(inner, dict) else {}), **config}
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    tie, eos = both.get("tie_word_embeddings"), generation.get("eos_token_id")
    eos = both.get("eos_token_id") if eos is None else eos
    ids = eos if isinstance(eos, list) else [eos]
    return {
        # Only a config of transformers says how the tensors are called.
        "architecture": (text(first) or text(config.get("model_type")))
        if "model_type" in config
        else None,
        "custom_code": bool(config.get("auto_map")),
        "vocab_size": whole(both.get("vocab_size")),
        "tie_word_embeddings": tie if isinstance(tie, bool) else None,
        "dtype": text(both.get("dtype")) or text(both.get("torch_dtype")),
        "eos_token_ids": tuple(number for one in ids if (number := whole(one)) is not None),
    }
