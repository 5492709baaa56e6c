"""Facts about the labels of one batch; the model is not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.facts.preflight import BatchFacts

if TYPE_CHECKING:
    from torch import Tensor


class UndecidedError(Exception):
    """A probe that cannot tell anything here; the message is the reason, for the user."""


def batch_facts(model: Any, batch: Mapping[str, Any], tokenizer: Any = None) -> BatchFacts:
    """Compare the labels of a batch with its tokens.

    Args:
        model: the module inside all wrappers; its class tells whether it shifts the labels, its
            configs state the special tokens that no tokenizer does.
        batch: `input_ids` and `labels` of shape (rows, positions), and `attention_mask` if any.
        tokenizer: states the special tokens.

    Raises:
        UndecidedError: the labels do not belong to the positions of the input.
    """
    if not _writes_text(model):
        raise UndecidedError("the labels of this model are not the tokens of its input")
    tokens, labels = aligned(batch)
    mask = attention(batch, tokens)
    supervised = labels != IGNORED_LABEL
    following = tokens.roll(-1, dims=1)
    following[:, -1] = IGNORED_LABEL
    ends = end_tokens(model, tokenizer)
    facts: dict[str, Any] = {}
    pad = special(model, tokenizer, "pad")
    if mask is not None:
        facts["supervised_padding"] = int((supervised & ~mask).sum())
    elif pad is not None and pad not in ends:
        facts["supervised_padding"] = int((supervised & _outside(tokens != pad)).sum())
    if ends and (mask is not None or pad not in ends):
        facts |= _ends(tokens, supervised, mask, ends)
    if ends and mask is not None:
        facts |= _answers(labels, supervised, mask, ends)
    bos = special(model, tokenizer, "bos")
    if bos is not None:
        facts["double_bos"] = _double_bos(tokens, mask, bos)
    return BatchFacts(
        rows=len(tokens),
        supervised=int(supervised.sum()),
        copied=int((supervised & (labels == tokens)).sum()),
        copied_next=int((supervised & (labels == following)).sum()),
        model_shifts="shift_labels" not in batch,
        **facts,
    )


def aligned(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Tokens and labels, both of shape (rows, positions), on the CPU.

    Raises:
        UndecidedError: there are none, or they differ in shape.
    """
    tokens, labels = batch.get("input_ids"), batch.get("labels")
    shape = getattr(tokens, "shape", ())
    if tokens is None or labels is None or len(shape) != 2 or labels.shape != shape:
        raise UndecidedError("the batch has no input_ids and labels of one shape")
    return tokens.cpu().clone(), labels.cpu()


def attention(batch: Mapping[str, Any], tokens: Tensor) -> Tensor | None:
    """The attention mask as booleans on the CPU; None if the batch has none of (rows, positions).

    Args:
        batch: the columns.
        tokens: its `input_ids`.
    """
    mask = batch.get("attention_mask")
    if mask is None or mask.shape != tokens.shape:
        return None
    found: Tensor = mask.cpu().bool()
    return found


def is_causal(model: Any) -> bool:
    """Whether a model is one of transformers' causal language models, by its class."""
    name = type(model).__name__
    # XLM and FlauBERT call their masked language models so.
    return ("CausalLM" in name or "LMHeadModel" in name) and "WithLMHead" not in name


def special(model: Any, tokenizer: Any, role: str) -> int | None:
    """The id of "pad" or "bos": the tokenizer's if there is one, else the config's."""
    source = tokenizer if tokenizer is not None else getattr(model, "config", None)
    token = getattr(source, f"{role}_token_id", None)
    return token if isinstance(token, int) else None


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every token that ends a sequence, by the tokenizer, the config or the generation config."""
    sources = (
        tokenizer,
        getattr(model, "config", None),
        getattr(model, "generation_config", None),
    )
    stated = [getattr(source, "eos_token_id", None) for source in sources]
    lists = [entry if isinstance(entry, list) else [entry] for entry in stated]
    return tuple(sorted({one for entry in lists for one in entry if isinstance(one, int)}))


def _writes_text(model: Any) -> bool:
    """Whether it goes on with its input, be it after a picture; all that do shift the labels."""
    two_parts = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    conditional = "ForConditionalGeneration" in type(model).__name__ and not two_parts
    return is_causal(model) or conditional


def _ends(
    tokens: Tensor, supervised: Tensor, mask: Tensor | None, ends: tuple[int, ...]
) -> dict[str, int]:
    """An end token of a prompt is rightly ignored: only one that a supervised token leads to."""
    found = _among(tokens, ends)
    found[:, 1:] &= supervised[:, :-1]
    found[:, 0] = False
    if mask is not None:
        found &= mask
    return {"ends": int(found.sum()), "supervised_ends": int((found & supervised).sum())}


def _answers(
    labels: Tensor, supervised: Tensor, mask: Tensor, ends: tuple[int, ...]
) -> dict[str, int]:
    lengths = mask.sum(dim=1)
    answers = (lengths < lengths.max()) & supervised.any(dim=1) & (mask & ~supervised).any(dim=1)
    ended = (_among(labels, ends) & supervised).any(dim=1)
    return {"answers": int(answers.sum()), "ended_answers": int((answers & ended).sum())}


def _double_bos(tokens: Tensor, mask: Tensor | None, bos: int) -> int:
    rows = [row if mask is None else row[mask[index]] for index, row in enumerate(tokens)]
    return sum(row[:2].tolist() == [bos, bos] for row in rows)


def _outside(real: Tensor) -> Tensor:
    """The places before the first and after the last real token of each row."""
    before = real.cumsum(dim=1) == 0
    after = real.flip(1).cumsum(dim=1).flip(1) == 0
    return before | after


def _among(tokens: Tensor, wanted: tuple[int, ...]) -> Tensor:
    import torch

    return torch.isin(tokens, torch.tensor(wanted, dtype=tokens.dtype))
