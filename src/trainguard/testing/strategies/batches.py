"""Batches of a causal language model as a data collator makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from trainguard.facts.labels import IGNORED_LABEL

PAD, BOS, EOS = 0, 1, 2
_FIRST_WORD = 3
Rows = list[list[int]]


@st.composite
def batches(
    draw: st.DrawFn,
    *,
    fault: str | None = None,
    side: Literal["right", "left"] | None = None,
    masked_prompt: bool = True,
    eos: bool = True,
    vocabulary: int = 64,
    numpy: bool = False,
) -> dict[str, Any]:
    """Batches with `input_ids`, `attention_mask` and `labels` of shape (rows, positions).

    Each of 2 to 5 rows is a BOS, a prompt, an answer and an EOS; at least two are padded. The ids
    are 0 for padding, 1 for BOS and 2 for EOS.

    Args:
        draw: given by hypothesis.
        fault: one of `BATCH_FAULTS`, planted in the batch; None leaves it healthy.
        side: where the padding is; either if None.
        masked_prompt: whether the labels of prompts are -100.
        eos: whether answers end in an EOS.
        vocabulary: number of token ids, 8 or more.
        numpy: arrays of int64 instead of lists.

    Raises:
        ValueError: there is no such fault.
    """
    if fault is not None and fault not in _FAULTS:
        raise ValueError(f"no fault is called {fault!r}; there are {', '.join(BATCH_FAULTS)}")
    word = st.integers(_FIRST_WORD, vocabulary - 1)
    # Each word differs from the one before: text of one token looks the same shifted.
    text = st.lists(word, min_size=3, max_size=8, unique=True)
    pairs = draw(st.lists(st.tuples(text, text), min_size=2, max_size=5))
    pairs.append(([*range(3, 3 + 4)], max((pair[1] for pair in pairs), key=len) * 2))
    prompts = [[BOS, *prompt] for prompt, _ in pairs]
    answers = [[*answer, *([EOS] if eos else [])] for _, answer in pairs]
    longest = max(map(len, prompts)) + max(map(len, answers))
    at: str = side or draw(st.sampled_from(("right", "left")))
    columns = _padded(prompts, answers, longest, at, masked_prompt)
    columns = columns if fault is None else _FAULTS[fault](columns)
    return {n: np.array(rows) for n, rows in columns.items()} if numpy else dict(columns)


def _padded(
    prompts: Rows, answers: Rows, width: int, side: str, masked_prompt: bool
) -> dict[str, Rows]:
    columns: dict[str, Rows] = {"input_ids": [], "attention_mask": [], "labels": []}
    for prompt, answer in zip(prompts, answers, strict=True):
        row = prompt + answer
        target = ([IGNORED_LABEL] * len(prompt) if masked_prompt else prompt) + answer
        fill = width - len(row)
        for name, values, padding in (
            ("input_ids", row, PAD),
            ("attention_mask", [1] * len(row), 0),
            ("labels", target, IGNORED_LABEL),
        ):
            ends = [padding] * fill
            columns[name].append(values + ends if side == "right" else ends + values)
    return columns


def _with_labels(
    columns: dict[str, Rows], change: Callable[[int, int, int], int]
) -> dict[str, Rows]:
    """The labels are changed, given the label, the token and the attention at its place."""
    cells = zip(columns["labels"], columns["input_ids"], columns["attention_mask"], strict=True)
    return {**columns, "labels": [list(map(change, *rows)) for rows in cells]}


def _unsupervised(columns: dict[str, Rows]) -> dict[str, Rows]:
    return _with_labels(columns, lambda label, token, seen: IGNORED_LABEL)


def _padding(columns: dict[str, Rows]) -> dict[str, Rows]:
    return _with_labels(columns, lambda label, token, seen: label if seen else token)


def _no_ends(columns: dict[str, Rows]) -> dict[str, Rows]:
    return _with_labels(columns, lambda label, _, __: IGNORED_LABEL if label == EOS else label)


def _shifted(columns: dict[str, Rows]) -> dict[str, Rows]:
    labels = [[*row[1:], IGNORED_LABEL] for row in columns["labels"]]
    return {**columns, "labels": labels}


def _double_bos(columns: dict[str, Rows]) -> dict[str, Rows]:
    """The first word of each prompt becomes another BOS."""
    rows = [list(row) for row in columns["input_ids"]]
    for row in rows:
        row[row.index(BOS) + 1] = BOS
    return {**columns, "input_ids": rows}


_FAULTS: Mapping[str, Callable[[dict[str, Rows]], dict[str, Rows]]] = {
    "double-bos": _double_bos,
    "no-supervised-tokens": _unsupervised,
    "shifted-labels": _shifted,
    "supervised-padding": _padding,
    "unsupervised-eos": _no_ends,
}
BATCH_FAULTS = tuple(_FAULTS)
