"""The tokenizer beside a model or an adapter, as far as its vocabulary goes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainguard.facts.tokenizer import TOKENIZER_NAME, TokenizerFacts
from trainguard.gather._objects import as_object, read_bytes, text, whole
from trainguard.gather.adapter_files import UnreadableError

LARGEST_TOKENIZER = 64 * 2**20
"""Bytes of a file that are read; the largest published have half of them."""


def tokenizer_facts(folder: Path) -> TokenizerFacts | None:
    """The `tokenizer.json` of a folder, None without one; never raises on what it holds."""
    path = folder / TOKENIZER_NAME
    if not os.path.lexists(path):
        return None
    try:
        highest, last = _last_tokens_in(read_bytes(path, LARGEST_TOKENIZER))
    except UnreadableError as error:
        return TokenizerFacts(path=str(path), problem=str(error))
    return TokenizerFacts(path=str(path), highest_token=highest, last_tokens=last)


# The checkpoints of a run all have the same one, and it takes longer to parse than to compare.
@lru_cache(maxsize=1)
def _last_tokens_in(content: bytes) -> tuple[int | None, tuple[str, ...]]:
    return last_tokens(as_object(content))


def last_tokens(tokenizer: Mapping[str, Any]) -> tuple[int | None, tuple[str, ...]]:
    """The largest token id and the tokens of the largest ids."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        ids = {i: t for t, i in vocabulary.items() if whole(i) is not None}
    elif isinstance(vocabulary, list):  # Unigram: pairs of piece and score, by their place
        ids = {i: _piece(pair) for i, pair in enumerate(vocabulary)}
    ids |= dict(_added(tokenizer.get("added_tokens")))
    last = sorted(ids, reverse=True)[:5]
    return (last[0] if last else None), tuple(text(ids[one]) or "?" for one in last)


def _piece(pair: Any) -> str:
    return pair[0] if isinstance(pair, list) and pair and isinstance(pair[0], str) else "?"


def _added(tokens: Any) -> Iterable[tuple[int, str]]:
    entries: Sequence[Any] = tokens if isinstance(tokens, list) else ()
    for entry in entries:
        number = whole(entry.get("id")) if isinstance(entry, dict) else None
        if number is not None:
            yield number, text(entry.get("content")) or "?"
