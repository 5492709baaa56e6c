"""Assertions on adapters: trainable after loading, of effect, and the same after saving.

`model` is a PEFT model in memory. It is as before afterwards: what needs to change it is done to
a copy, so these are for small models.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from trainguard.facts.preflight import Contrast
from trainguard.gather.preflight_contrasts import arithmetic
from trainguard.gather.preflight_state import untouched
from trainguard.testing._running import Output, listed, own_output
from trainguard.testing.reports import assert_decided

if TYPE_CHECKING:
    from torch import Tensor


def assert_adapter_trainable(model: Any) -> None:
    """Assert that the active adapter would be trained (TG201, TG202).

    `PeftModel.from_pretrained(base, folder)` freezes what it loads; pass `is_trainable=True`.

    Args:
        model: as it is given to the trainer.

    Raises:
        AssertionError: the message is the diagnosis, or the model has no adapter.
    """
    __tracebackhide__ = True
    from trainguard.gather.model import model_facts, unwrapped_model
    from trainguard.integrations.files import check

    if not model_facts(unwrapped_model(model)).adapter_tensors:
        raise AssertionError(f"{type(model).__name__} has no active adapter")
    assert_decided(check(model), "frozen-adapter", "nothing-trainable")


def assert_adapter_changes_output(model: Any, batch: Any, *, output: Output | None = None) -> None:
    """Assert that the outputs with and without the adapter differ.

    A fresh LoRA does not pass: its B matrices are zero until it is trained.

    Args:
        model: a PEFT model, called in evaluation mode.
        batch: what it is called with.
        output: function of the model and the batch; the logits by default.

    Raises:
        AssertionError: the outputs are the same to the bit.
    """
    __tracebackhide__ = True
    import torch

    adapted = _evaluated(model, batch, output)
    with untouched(model), model.disable_adapter():
        plain = _evaluated(model, batch, output)
    if torch.equal(adapted, plain):
        raise AssertionError(
            "the outputs with and without the adapter are the same to the bit: it is untrained, "
            "or not on the way to the output"
        )


def assert_adapter_round_trips(
    model: Any,
    batch: Any = None,
    *,
    base: Callable[[], Any] | None = None,
    folder: str | Path | None = None,
    output: Output | None = None,
) -> None:
    """Assert that the adapter is the same to the bit after `save_pretrained` and loading.

        assert_adapter_round_trips(model, batch, base=lambda: load_base_model())

    Args:
        model: a PEFT model.
        batch: if given, the outputs must be the same to the bit, too.
        base: makes a fresh base model; by default a copy of the model's own without the adapter,
            in which tokens that were added to it are still there.
        folder: where to save; a temporary folder by default.
        output: function of the model and the batch; the logits by default.

    Raises:
        AssertionError: names the tensors that are missing, new or different.
    """
    __tracebackhide__ = True
    import torch

    if folder is None:
        with TemporaryDirectory() as made:
            assert_adapter_round_trips(model, batch, base=base, folder=made, output=output)
        return
    with untouched(model):
        model.save_pretrained(str(folder))
        fresh = base() if base is not None else _without_adapter(copy.deepcopy(model))
        loaded = type(model).from_pretrained(fresh, str(folder))
        _assert_same_state(_state(model), _state(loaded))
        if batch is not None:
            first, second = (_evaluated(one, batch, output) for one in (model, loaded))
            if not torch.equal(first, second):
                difference = float((first - second).abs().max())
                raise AssertionError(f"the outputs differ by up to {difference:.2g} after loading")


def assert_merged_equals_unmerged(
    model: Any, batch: Any, *, output: Output | None = None, tolerance: float | None = None
) -> None:
    """Assert that merging the adapter into a copy of the model leaves the outputs as they are.

    Args:
        model: a PEFT model, called in evaluation mode.
        batch: what it is called with.
        output: function of the model and the batch; the logits by default.
        tolerance: largest absolute difference in units of the outputs' standard deviation; by
            default what rounding in the model's precision explains (1e-4 in float32).

    Raises:
        AssertionError: states the difference.
    """
    __tracebackhide__ = True
    with untouched(model):
        merged = copy.deepcopy(model).merge_and_unload()
        first, second = (_evaluated(one, batch, output).float() for one in (model, merged))
    contrast = Contrast(
        difference=float((first - second).abs().max()),
        spread=float(first.std()),
        arithmetic=arithmetic(model),
    )
    if contrast.ratio > tolerance if tolerance is not None else contrast.differs:
        raise AssertionError(
            f"the merged model's outputs differ by up to {contrast.difference:.2g}, "
            f"{contrast.ratio:.2g} of their standard deviation"
        )


def _evaluated(model: Any, batch: Any, output: Output | None) -> Tensor:
    import torch

    with untouched(model), torch.no_grad():
        return (output or own_output)(model.eval(), batch).detach().clone()


def _without_adapter(model: Any) -> Any:
    return model.unload() if hasattr(model, "unload") else model.get_base_model()


def _state(model: Any) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    state: dict[str, Tensor] = get_peft_model_state_dict(model)
    return state


def _assert_same_state(saved: dict[str, Tensor], loaded: dict[str, Tensor]) -> None:
    __tracebackhide__ = True
    import torch

    if gone := sorted(set(saved) - set(loaded)):
        raise AssertionError(f"{len(gone)} tensors are gone after loading: {listed(gone)}")
    if new := sorted(set(loaded) - set(saved)):
        raise AssertionError(f"{len(new)} tensors are new after loading: {listed(new)}")
    if other := [name for name, one in saved.items() if not torch.equal(one, loaded[name])]:
        raise AssertionError(f"{len(other)} tensors differ after loading: {listed(other)}")
