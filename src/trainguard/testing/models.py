"""Assertions on what a model returns for a batch, and on what its outputs depend on.

The model is as before afterwards. `batch` is what the model is called with: a mapping by name, a
tuple by position, anything else as the one argument. `output` is a function of the model and the
batch that gives one tensor; by default the logits, or else the first tensor of floats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainguard.findings import Report
from trainguard.gather.preflight_state import untouched
from trainguard.testing._influence import influences
from trainguard.testing._running import Output, called, floats, own_output
from trainguard.testing.reports import assert_decided

if TYPE_CHECKING:
    from torch.nn import Module


def assert_finite_outputs(model: Module, batch: Any, *, training: bool = False) -> None:
    """Assert that no output, the loss included, is NaN or infinite.

    Args:
        model: the module.
        batch: what it is called with.
        training: whether to call it in training mode.

    Raises:
        AssertionError: counts the elements, or there is no output of floats.
    """
    __tracebackhide__ = True
    import torch

    with untouched(model), torch.no_grad():
        found = list(floats(called(model.train(training), batch)))
    if not found:
        raise AssertionError(f"{type(model).__name__} returns no floating-point numbers")
    for index, tensor in enumerate(found):
        if broken := int((~tensor.isfinite()).sum()):
            raise AssertionError(
                f"{broken} of {tensor.numel()} elements of output {index}, of shape "
                f"{tuple(tensor.shape)}, are NaN or infinite"
            )


def assert_output_shape(
    model: Module, batch: Any, shape: Sequence[int | None], *, output: Output | None = None
) -> None:
    """Assert the shape of the output.

        assert_output_shape(model, batch, (None, 16, len(tokenizer)))

    Args:
        model: the module, called in evaluation mode.
        batch: what it is called with.
        shape: one length per dimension; None stands for any.
        output: function of the model and the batch.

    Raises:
        AssertionError: states both shapes.
    """
    __tracebackhide__ = True
    found = tuple(_evaluated(model, batch, output).shape)
    fits = [want is None or want == have for want, have in zip(shape, found, strict=False)]
    if len(found) != len(shape) or not all(fits):
        raise AssertionError(f"the output has the shape {found}, not {tuple(shape)}")


def assert_output_range(
    model: Module,
    batch: Any,
    low: float,
    high: float,
    *,
    output: Output | None = None,
) -> None:
    """Assert that every element of the output lies within bounds, which it may touch.

    Args:
        model: the module, called in evaluation mode.
        batch: what it is called with.
        low: the least value.
        high: the greatest value.
        output: function of the model and the batch.

    Raises:
        AssertionError: states the range found, or that there are NaNs.
    """
    __tracebackhide__ = True
    found = _evaluated(model, batch, output)
    least, most = float(found.min()), float(found.max())
    if not (low <= least and most <= high):
        raise AssertionError(
            f"the output lies in [{least:g}, {most:g}], not in [{low:g}, {high:g}]"
        )


def assert_rows_independent(
    model: Module, batch: Any, *, output: Output | None = None, training: bool = False
) -> None:
    """Assert that no example of a batch influences the output of another.

    Causal language models are judged by `preflight` (TG212): one row beside two neighbours, in
    training mode. Of other models the gradient of each row of the output with respect to the
    other rows of the input must be zero.

    Args:
        model: the module.
        batch: inputs whose first dimension counts the examples, 2 or more.
        output: function of the model and the batch, to a tensor of shape (rows, ...).
        training: whether other models are called in training mode, in which batch normalization
            mixes the rows by design.

    Raises:
        AssertionError: states which row influences which, or that it could not be decided.
    """
    __tracebackhide__ = True
    if output is None and (report := _language(model, batch, "rows", "rows-not-independent")):
        assert_decided(report, "rows-not-independent")
        return
    seen = influences(model, batch, output or own_output, 0, training=training)
    if len(seen) < 2:
        raise AssertionError("the batch has one row; at least 2 are needed")
    for row, rows in enumerate(seen):
        if others := sorted(rows - {row}):
            raise AssertionError(f"the output of row {row} depends on the input of row {others[0]}")


def assert_causal(model: Module, batch: Any, *, output: Output | None = None) -> None:
    """Assert that no position of a sequence influences the output at an earlier one.

    Causal language models are judged by `preflight` (TG211): one prefix with two continuations.
    Of other models the gradient of each position of the output with respect to later positions of
    the input must be zero.

    Args:
        model: the module, called in evaluation mode.
        batch: inputs of shape (rows, positions, ...).
        output: function of the model and the batch, to a tensor of shape (rows, positions, ...).

    Raises:
        AssertionError: states which position sees a later one, or that it could not be decided.
    """
    __tracebackhide__ = True
    if output is None and (report := _language(model, batch, "causal", "causal-leak")):
        assert_decided(report, "causal-leak")
        return
    for position, positions in enumerate(influences(model, batch, output or own_output, 1)):
        if (last := max(positions, default=0)) > position:
            raise AssertionError(
                f"the output at position {position} depends on the input at position {last}"
            )


def assert_padding_invariant(
    model: Module, batch: Mapping[str, Any], tokenizer: Any = None
) -> None:
    """Assert that a padded row gets the logits that it gets without its padding (TG213).

    Args:
        model: a causal language model.
        batch: `input_ids` and `attention_mask` of shape (rows, positions), a row of them padded.
        tokenizer: states the pad token if the model's config does not.

    Raises:
        AssertionError: states the difference, or that no row is padded.
    """
    __tracebackhide__ = True
    from trainguard.integrations.preflight import preflight

    report = preflight(model, batch, tokenizer=tokenizer, probes=("padding",))
    assert_decided(report, "padding-contaminates")


def assert_packing_independent(model: Module, batch: Mapping[str, Any]) -> None:
    """Assert that a packed document gets the logits that it gets in a row of its own.

    Args:
        model: a causal language model.
        batch: `input_ids` and `position_ids` of shape (rows, positions) in which positions start
            again at 0 with every document.

    Raises:
        AssertionError: states the difference, or that no row holds two documents.
    """
    __tracebackhide__ = True
    from trainguard.integrations.preflight import preflight

    assert_decided(preflight(model, batch, probes=("packing",)), "packing-contaminates")


def _evaluated(model: Module, batch: Any, output: Output | None) -> Any:
    import torch

    with untouched(model), torch.no_grad():
        return (output or own_output)(model.eval(), batch)


def _language(model: Module, batch: Any, probe: str, name: str) -> Report | None:
    """The report of `preflight` if it decides, which it does of causal language models."""
    from trainguard.integrations.preflight import preflight
    from trainguard.registry import find

    if not isinstance(batch, Mapping) or "input_ids" not in batch:
        return None
    report = preflight(model, batch, probes=(probe,))
    return report if find(name).code in report.checked else None
