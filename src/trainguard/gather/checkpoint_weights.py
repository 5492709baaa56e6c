"""Which checkpoints of a run hold the same weights, without reading more than that takes.

A few pieces of each file tell trained checkpoints apart. Only those that look alike are read in
whole, up to a bound; the headers' metadata does not count, the tensors' names, types and shapes do.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from trainguard.facts.adapter import WEIGHTS_NAME
from trainguard.gather.adapter_files import UnreadableError, open_regular, size_of
from trainguard.gather.safetensors import SafetensorsError, StoredTensor, read_header

LARGEST = 4 * 2**30
"""Bytes of one checkpoint that are read in whole."""
MODEL_NAME = "model.safetensors"

_PIECE = 64 * 1024
_PIECES = 16
_MOST_FILES = 512


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight files of one checkpoint and what was seen of them."""

    files: tuple[Path, ...] = ()
    size: int = 0
    """Bytes of tensors."""
    token: str | None = None
    """Stands for the bytes that were read; None if they could not be."""
    whole: bool = True
    """Whether these were all bytes."""


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Adapters and models in safetensors, those of named adapters in sub-folders included."""
    found = [*_weights_in(folder)]
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += (p for p in _weights_in(Path(entry.path)) if p.name == WEIGHTS_NAME)
    return tuple(sorted(found)[:_MOST_FILES])


def _weights_in(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            is_model = entry.name.startswith("model") and entry.name.endswith(".safetensors")
            if entry.name == WEIGHTS_NAME or is_model:
                yield Path(entry.path)


def glance(folder: Path) -> Weights:
    """The first look at a checkpoint's weights; never raises on what the files hold."""
    try:
        files = weight_files(folder)
        return _seen(files, folder, whole=False) if files else Weights()
    except (OSError, SafetensorsError, UnreadableError):
        return Weights()


def settled(folders: Sequence[Path], weights: Sequence[Weights]) -> list[Weights]:
    """The same with tokens that are equal only where all bytes are.

    Args:
        folders: the checkpoints of one run.
        weights: a glance at each.
    """
    alike = Counter(one.token for one in weights)
    return [
        one if one.whole or alike[one.token] == 1 else _settle(folder, one)
        for folder, one in zip(folders, weights, strict=True)
    ]


def _settle(folder: Path, one: Weights) -> Weights:
    if one.token is None or one.size > LARGEST:
        return replace(one, token=None)
    try:
        return _seen(one.files, folder, whole=True)
    except (OSError, SafetensorsError, UnreadableError):
        return replace(one, token=None)


def _seen(files: tuple[Path, ...], folder: Path, *, whole: bool) -> Weights:
    digest = hashlib.blake2b(digest_size=16)
    total, complete = 0, True
    for path in files:
        with open_regular(path) as file:
            tensors = read_header(file, size_of(file))
            start, size = _span(tensors)
            described = [(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
            digest.update(repr((str(path.relative_to(folder)), described)).encode())
            all_of_it = whole or size <= _PIECE * _PIECES
            for piece in _pieces(file, start, size, all_of_it=all_of_it):
                digest.update(piece)
            total, complete = total + size, complete and all_of_it
    return Weights(files, total, digest.hexdigest(), complete)


def _span(tensors: Sequence[StoredTensor]) -> tuple[int, int]:
    """First byte of the tensors and how many there are; they lie without a gap."""
    if not tensors:
        return 0, 0
    return tensors[0].start, tensors[-1].end - tensors[0].start


def _pieces(file: BinaryIO, start: int, size: int, *, all_of_it: bool) -> Iterator[bytes]:
    if all_of_it:
        offsets: Sequence[int] = range(0, size, _PIECE)
    else:
        offsets = [(size - _PIECE) * number // (_PIECES - 1) for number in range(_PIECES)]
    for offset in offsets:
        file.seek(start + offset)
        yield file.read(min(_PIECE, size - offset))
