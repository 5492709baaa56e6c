"""Pairs of forward passes whose logits must agree: causality, rows, padding, packing.

Every pair is small (one or two rows), needs no gradient, and draws its random tokens from a
generator of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainguard.facts.preflight import (
    CausalFacts,
    Contrast,
    PackingFacts,
    PaddingFacts,
    RowFacts,
)
from trainguard.gather.evaluation_state import preserved
from trainguard.gather.preflight_batch import UndecidedError, attention, is_causal, special

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

LONGEST = 256
"""Positions of the rows that are made up for a pair."""
FEWEST = 4
SEED = 20_000


class ContrastProbe:
    """The pairs that one batch allows.

    Args:
        model: the module inside all wrappers, in a block of `untouched`.
        base: the model inside PEFT.
        inputs: the batch, on the model's device.
        tokenizer: states the pad token.

    Raises:
        UndecidedError: the model is no causal language model over `input_ids`.
    """

    def __init__(self, model: Module, base: Any, inputs: Mapping[str, Any], tokenizer: Any) -> None:
        tokens = inputs.get("input_ids")
        if not is_causal(base) or tokens is None or tokens.ndim != 2:
            raise UndecidedError("the model is no causal language model over input_ids")
        self._model = model
        self._accepted = set(inspect.signature(base.forward).parameters)
        self._inputs = {name: value for name, value in inputs.items() if name != "labels"}
        self._tokens: Tensor = tokens
        self._mask = attention(inputs, tokens)
        self._pad = special(base, tokenizer, "pad")
        self._arithmetic = arithmetic(model)

    def causal(self) -> CausalFacts:
        """The prefix of one row with two continuations, in one forward pass."""
        import torch

        self._model.eval()
        row = self._longest_row()
        half = len(row) // 2
        other = torch.cat([row[:half], self._others(row[half:])])
        first, second = self._logits(self._made_up(torch.stack([row, other])))
        return CausalFacts(**self._compared(first[:half], second[:half]), positions=half)

    def rows(self) -> RowFacts:
        """One row beside two neighbours, with the same random numbers, in training mode."""
        import torch

        self._model.train()
        row = self._longest_row()
        neighbour = self._others(row)
        pairs = [torch.stack([row, one]) for one in (neighbour, self._others(neighbour))]
        first, second = (self._logits(self._made_up(pair))[0] for pair in pairs)
        return RowFacts(**self._compared(first, second))

    def padding(self) -> PaddingFacts:
        """The most padded row as it stands in the batch, and without its padding."""
        self._model.eval()
        row, kept = self._padded_row()
        padded = self._logits(self._row(row))[0][kept]
        alone = self._only(row, kept)
        # Some models count positions from the first attended token, some from the first column.
        variants = [alone]
        if "position_ids" in self._accepted and "position_ids" not in alone:
            variants.append({**alone, "position_ids": kept[None]})
        pairs = [self._compared(padded, self._logits(variant)[0]) for variant in variants]
        return PaddingFacts(
            **min(pairs, key=lambda pair: pair["difference"]),
            row=row,
            padding=self._tokens.shape[1] - len(kept),
            masked=self._mask is not None,
        )

    def packing(self, *, cached: bool) -> PackingFacts:
        """A document that stands behind another one in its row, and the same on its own.

        Args:
            cached: whether the run may have `use_cache` on, so that it is tried as well.
        """
        self._model.eval()
        row, document = self._packed_document()
        alone = self._logits(self._only(row, document))[0]
        packed = self._row(row)
        pairs = [
            self._compared(self._logits(packed, use_cache=use_cache)[0][document], alone)
            for use_cache in (False, True)[: 1 + cached]
        ]
        return PackingFacts(
            **pairs[0],
            row=row,
            start=int(document[0]),
            masked=self._mask is not None,
            cached=Contrast(**pairs[1]) if cached else None,
        )

    def _longest_row(self) -> Tensor:
        lengths = [len(self._attended(index)) for index in range(len(self._tokens))]
        index = lengths.index(max(lengths))
        row = self._tokens[index][self._attended(index)][:LONGEST]
        if len(row) < FEWEST:
            raise UndecidedError(f"no row of the batch has {FEWEST} tokens")
        return row

    def _attended(self, index: int) -> Tensor:
        """Places of the tokens of a row that are no padding."""
        import torch

        row = self._tokens[index]
        if self._mask is not None:
            found = self._mask[index].nonzero().flatten()
        else:
            real = [place for place, token in enumerate(row.tolist()) if token != self._pad] or [0]
            found = torch.arange(real[0], real[-1] + 1)
        return found.to(row.device)

    def _padded_row(self) -> tuple[int, Tensor]:
        places = [self._attended(index) for index in range(len(self._tokens))]
        row = min(range(len(places)), key=lambda index: len(places[index]))
        kept = places[row]
        whole = int(kept[-1] - kept[0]) + 1 == len(kept) if len(kept) else False
        if len(kept) == self._tokens.shape[1]:
            raise UndecidedError("no row of the batch is padded")
        if not whole or len(kept) < FEWEST:
            raise UndecidedError(f"the most padded row has no {FEWEST} tokens side by side")
        return row, kept

    def _packed_document(self) -> tuple[int, Tensor]:
        """Row and places of the longest document that does not begin its row."""
        positions = self._inputs.get("position_ids")
        if getattr(positions, "shape", None) != self._tokens.shape or positions is None:
            raise UndecidedError("the batch has no position_ids that start again within a row")
        found = [
            (len(document), index, document)
            for index in range(len(self._tokens))
            for document in _documents(self._attended(index), positions[index])[1:]
        ]
        length, row, document = max(found, key=lambda one: one[0], default=(0, 0, positions))
        if length < FEWEST:
            raise UndecidedError("the batch has no position_ids that start again within a row")
        return row, document

    def _row(self, index: int) -> dict[str, Any]:
        """One row of the batch with all its columns."""
        if len(self._tokens) == 1:
            return self._inputs
        return {name: value[index : index + 1] for name, value in self._per_token().items()}

    def _only(self, index: int, places: Tensor) -> dict[str, Any]:
        """Some places of a row as a row of their own, fully attended."""
        import torch

        row = {name: value[index : index + 1, places] for name, value in self._per_token().items()}
        if "attention_mask" in row:
            row["attention_mask"] = torch.ones_like(row["attention_mask"])
        return row

    def _per_token(self) -> dict[str, Any]:
        shapes = {name: getattr(value, "shape", None) for name, value in self._inputs.items()}
        other = [name for name, shape in shapes.items() if shape != self._tokens.shape]
        if other and len(self._tokens) > 1:
            raise UndecidedError(f"the column {other[0]} cannot be cut into rows")
        return {name: value for name, value in self._inputs.items() if name not in other}

    def _made_up(self, tokens: Tensor) -> dict[str, Tensor]:
        import torch

        mask = {} if self._mask is None else {"attention_mask": torch.ones_like(tokens)}
        return {"input_ids": tokens, **mask}

    def _others(self, tokens: Tensor) -> Tensor:
        """At every place another token out of those of the batch."""
        import torch

        known = self._tokens.unique()
        if len(known) < 2:
            raise UndecidedError("the batch holds one token only")
        generator = torch.Generator().manual_seed(SEED)
        places = torch.searchsorted(known, tokens.contiguous())
        steps = torch.randint(1, len(known), tokens.shape, generator=generator)
        return known[(places + steps.to(places.device)) % len(known)]

    def _logits(self, inputs: Mapping[str, Any], *, use_cache: bool = False) -> Tensor:
        """Logits of shape (rows, positions, vocabulary); the same random numbers each time."""
        import torch

        extra = {"use_cache": use_cache} if "use_cache" in self._accepted else {}
        with preserved([self._model]), torch.no_grad():
            found: Tensor = self._model(**{**inputs, **extra}).logits
        if found.shape[:2] != inputs["input_ids"].shape:
            raise UndecidedError("the model returns no logits for every position")
        return found.float()

    def _compared(self, first: Tensor, second: Tensor) -> dict[str, Any]:
        difference = float((first - second).abs().max())
        if difference != difference:
            raise UndecidedError("the logits are not finite")
        spread = float(second.std())
        if not spread:
            raise UndecidedError("all logits are equal")
        return {"difference": difference, "spread": spread, "arithmetic": self._arithmetic}


def arithmetic(model: Module) -> str:
    """The lowest precision that a forward pass of the model computes in."""
    import torch

    device = next(model.parameters()).device.type
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if torch.is_autocast_enabled(device):
        kinds.add(torch.get_autocast_dtype(device))
    for kind in (torch.bfloat16, torch.float16):
        if kind in kinds:
            return str(kind).removeprefix("torch.")
    return "float32" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def _documents(places: Tensor, positions: Tensor) -> list[Tensor]:
    """The places of each document of a row: one begins wherever the positions do."""
    starts = (positions[places] == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], len(places)]
    return [places[start:end] for start, end in zip(starts, ends, strict=True)]
