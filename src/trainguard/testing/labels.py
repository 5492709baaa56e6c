"""Assertions on the labels of one batch, as a data collator makes them for a language model.

`batch` is a mapping with `input_ids`, `labels` and, except where it says otherwise,
`attention_mask`, each of shape (rows, positions): tensors, arrays or lists. A label of -100 is
ignored. The special tokens are the tokenizer's, or those of the model's config. Everything but
`assert_prompt_masked` is decided by the checks of `trainguard.preflight`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainguard.engine import judge
from trainguard.facts.evidence import Evidence
from trainguard.facts.labels import IGNORED_LABEL
from trainguard.facts.preflight import BatchFacts
from trainguard.facts.steps import StepFacts
from trainguard.findings import Report
from trainguard.registry import select
from trainguard.testing.reports import assert_decided, assert_no_findings

if TYPE_CHECKING:
    from torch import Tensor

Batch = Mapping[str, Any]
FAMILY = "TG3"


def assert_labels(batch: Batch, tokenizer: Any = None, *, model: Any = None) -> None:
    """Assert that no check of batches (TG3) has a finding, be it a warning.

    What a batch cannot show, such as ends without a known end token, is passed over.

    Args:
        batch: columns of shape (rows, positions).
        tokenizer: states pad, beginning and end of sequence.
        model: states them in place of a tokenizer.

    Raises:
        AssertionError: the message is the diagnosis.
    """
    __tracebackhide__ = True
    _, report = _looked_at(batch, tokenizer, model)
    assert_no_findings(report, fail_on="info")


def assert_labels_supervised(batch: Batch) -> None:
    """Assert that some label is not -100 (TG301).

    Raises:
        AssertionError: all are ignored.
    """
    __tracebackhide__ = True
    _, report = _looked_at(batch)
    assert_decided(report, "no-supervised-tokens")


def assert_labels_not_shifted(batch: Batch) -> None:
    """Assert that the labels stand at the places of their tokens (TG305).

    Causal language models of transformers shift them themselves.

    Raises:
        AssertionError: nearly every label is the next token, or all are ignored.
    """
    __tracebackhide__ = True
    _, report = _looked_at(batch)
    assert_decided(report, "no-supervised-tokens", "shifted-labels")


def assert_padding_not_supervised(
    batch: Batch, tokenizer: Any = None, *, model: Any = None
) -> None:
    """Assert that labels are -100 where there is padding (TG304), one a row excepted.

    Args:
        batch: columns of shape (rows, positions); without `attention_mask` the pad token tells.
        tokenizer: states the pad token.
        model: states it in place of a tokenizer.

    Raises:
        AssertionError: counts them, or padding cannot be told from text.
    """
    __tracebackhide__ = True
    _, report = _looked_at(batch, tokenizer, model)
    assert_decided(report, "supervised-padding")


def assert_eos_supervised(batch: Batch, tokenizer: Any = None, *, model: Any = None) -> None:
    """Assert that an end-of-sequence token is among the supervised labels (TG302, TG306).

    Args:
        batch: columns of shape (rows, positions).
        tokenizer: states the end-of-sequence token.
        model: states it, or several, in place of a tokenizer.

    Raises:
        AssertionError: no end is supervised, or no end token is known.
    """
    __tracebackhide__ = True
    facts, report = _looked_at(batch, tokenizer, model)
    assert_decided(report, "unsupervised-eos")
    if not facts.supervised_ends:
        raise AssertionError("no end-of-sequence token follows a supervised token in this batch")


def assert_prompt_masked(batch: Batch, prompt_lengths: Sequence[int]) -> None:
    """Assert that the labels of every prompt are -100 and that the token after it is supervised.

    Args:
        batch: `labels` of shape (rows, positions); `attention_mask` says where a row begins.
        prompt_lengths: tokens of each row's prompt, special tokens included.

    Raises:
        AssertionError: names the first place.
        ValueError: there are not as many lengths as rows.
    """
    __tracebackhide__ = True
    labels = _tensor(batch["labels"])
    mask = _tensor(batch.get("attention_mask", labels * 0 + 1))
    for row, length in enumerate(_each(prompt_lengths, len(labels))):
        places = mask[row].nonzero().flatten().tolist()
        for place in places[:length]:
            if labels[row, place] != IGNORED_LABEL:
                raise AssertionError(
                    f"row {row}: the label at position {place} is {int(labels[row, place])}, in a "
                    f"prompt of {length} tokens; -100 was expected"
                )
        if length < len(places) and labels[row, places[length]] == IGNORED_LABEL:
            raise AssertionError(
                f"row {row}: the label at position {places[length]}, the first behind a prompt of "
                f"{length} tokens, is -100"
            )


def _each(lengths: Sequence[int], rows: int) -> Sequence[int]:
    if len(lengths) != rows:
        raise ValueError(f"{len(lengths)} prompt lengths for {rows} rows")
    return lengths


class _StandInForCausalLM:
    """What a batch is for, where no model is given: one that continues its input."""


def _looked_at(batch: Batch, tokenizer: Any = None, model: Any = None) -> tuple[BatchFacts, Report]:
    """The facts of a batch and what the checks of batches say of them.

    Raises:
        AssertionError: it has no input_ids and labels of one shape.
    """
    from trainguard.gather.preflight_batch import UndecidedError, batch_facts

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    columns = {name: _tensor(value) for name, value in batch.items()}
    try:
        facts = batch_facts(base or _StandInForCausalLM(), columns, tokenizer)
    except UndecidedError as error:
        raise AssertionError(str(error)) from None
    step = StepFacts(step=1, supervised_tokens=facts.supervised)
    evidence = Evidence(
        subject="batch", kind="batch", facts={BatchFacts: facts, StepFacts: (step,)}
    )
    return facts, judge([evidence], select([FAMILY]))


def _tensor(value: Any) -> Tensor:
    import torch

    found: Tensor = torch.as_tensor(value)
    return found
