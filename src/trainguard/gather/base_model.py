"""The base model of an adapter: its config and the headers of its weights, nothing more."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from trainguard.facts.adapter import AdapterConfig
from trainguard.facts.base_model import BaseModelFacts, BaseReference
from trainguard.facts.evidence import Evidence
from trainguard.facts.tokenizer import TokenizerFacts
from trainguard.gather.adapter_files import UnreadableError, failed, open_regular, size_of
from trainguard.gather.safetensors import SafetensorsError, StoredTensor, read_header
from trainguard.gather.tokenizer import tokenizer_facts

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
MOST_FILES = 2_000
"""Shards that are read; the largest models published have some hundred."""
LARGEST_JSON = 64 * 1024 * 1024
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
#: How architectures of transformers call the number of their layers.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


def with_base(evidence: Evidence, base: str | Path | None = None) -> Evidence:
    """An adapter's evidence, what can be learned of its base model without a download, and the
    tokenizer beside it, which has to fit that model.

    Args:
        evidence: as `adapter_evidence` returns it; its subject is the adapter's folder.
        base: the base model's folder; without it, the one the config names, if it is there.
    """
    config = evidence.facts.get(AdapterConfig)
    facts: dict[type, Any] = dict(evidence.facts)
    absent = dict(evidence.absent)
    if (tokenizer := tokenizer_facts(Path(evidence.subject))) is not None:
        facts[TokenizerFacts] = tokenizer
    if config is not None:
        name = config.text("base_model_name_or_path") or ""
        reference = BaseReference(name=name, exists=_exists(name))
        facts[BaseReference] = reference
        if base is None and reference.exists:
            base = name
    if base is not None:
        found = base_model_facts(base)
        if isinstance(found, BaseModelFacts):
            facts[BaseModelFacts] = found
        else:
            absent[BaseModelFacts] = f"the base model {base}: {found}"
    return dataclasses.replace(evidence, facts=facts, absent=absent)


def base_model_facts(folder: str | Path) -> BaseModelFacts | str:
    """What a model's folder states about its tensors, or the reason why nothing can be said.

    Never raises on what the folder holds. Reads no values.
    """
    root = Path(folder)
    try:
        stored = [tensor for path in weight_files(root) for tensor in headers(path)]
    except UnreadableError as error:
        return str(error)
    config = model_config(root)
    shapes = {tensor.name: _shape(tensor) for tensor in stored}
    architectures = config.get("architectures")
    return BaseModelFacts(
        path=str(folder),
        architecture=next(iter(_strings(architectures)), None),
        vocab=_vocab(shapes, config),
        layers=_number(config, _LAYERS),
        shapes=shapes,
    )


def weight_files(root: Path) -> list[Path]:
    """The safetensors files of a full model: one, or the shards that its index names.

    Raises:
        UnreadableError: there are none, or the index cannot be used.
    """
    if (root / WEIGHTS).is_file() or not (root / INDEX).is_file():
        return [root / WEIGHTS]
    weights = _json(root / INDEX).get("weight_map")
    names = sorted(set(_strings(list(weights.values())))) if isinstance(weights, dict) else []
    if not names or len(names) > MOST_FILES:
        raise UnreadableError(f"{INDEX} names {len(names)} files", fix="download the model again")
    for name in names:
        # An index may come from anywhere; it must not lead out of its folder.
        if PurePosixPath(name).name != name or "\\" in name:
            raise UnreadableError(f"{INDEX} names a file elsewhere", fix="do not use this model")
    return [root / name for name in names]


def headers(path: Path) -> tuple[StoredTensor, ...]:
    """The tensors of one safetensors file.

    Raises:
        UnreadableError: it is missing or breaks a rule of the format; the name is in the message.
    """
    try:
        with open_regular(path) as file:
            return read_header(file, size_of(file))
    except (UnreadableError, SafetensorsError) as error:
        reason = str(error)
    except OSError as error:
        reason = str(failed(error))
    raise UnreadableError(f"{path.name} {reason}", fix="download the model again")


def _exists(name: str) -> bool:
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return False


def model_config(root: Path) -> dict[str, Any]:
    """The folder's `config.json`; empty if it is missing or not usable."""
    try:
        return _json(root / "config.json")
    except UnreadableError:
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST_JSON + 1)
        values = json.loads(content) if len(content) <= LARGEST_JSON else None
    except (OSError, RecursionError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise UnreadableError(f"{path.name} is not usable JSON", fix="download the model again")
    return values


def _shape(tensor: StoredTensor) -> tuple[int, ...] | None:
    """None for packed weights, whose shape is that of their container."""
    return tensor.shape if tensor.dtype in _FLOATS else None


def _vocab(shapes: dict[str, tuple[int, ...] | None], config: dict[str, Any]) -> int | None:
    for name, shape in shapes.items():
        if name.endswith(_EMBEDDINGS) and shape:
            return shape[0]
    return _number(config, ("vocab_size",))


def _number(config: dict[str, Any], keys: Sequence[str]) -> int | None:
    """The first of the keys that is a whole number, in the config or in that of its text model."""
    inner = config.get("text_config")
    places = (config, inner if isinstance(inner, dict) else {})
    values = (place.get(key) for place in places for key in keys)
    return next((value for value in values if type(value) is int), None)


def _strings(value: Any) -> Iterator[str]:
    items = value if isinstance(value, list) else ()
    return (item for item in items if isinstance(item, str))
