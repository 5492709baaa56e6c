"""Assertions on one backward pass, decided by `trainguard.preflight`.

The model is as before afterwards. `batch` is a mapping of columns, or whatever else the function
`loss` takes; `loss` is a function of the model and the batch, by default the loss that the model
returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trainguard.findings import Report
from trainguard.testing._running import Loss, listed, matches, own_loss
from trainguard.testing._state import kept
from trainguard.testing.reports import assert_decided

if TYPE_CHECKING:
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer


def assert_all_parameters_receive_gradients(
    model: Module,
    batch: Any,
    *,
    loss: Loss | None = None,
    ignore: str | Iterable[str] = (),
) -> None:
    """Assert that the loss reaches every trainable parameter. A gradient of zero is one.

    Args:
        model: the module that is to be trained.
        batch: what it is called with.
        loss: function of the model and the batch.
        ignore: patterns of names that may be left out, such as `pooler.*`.

    Raises:
        AssertionError: names those without a gradient (TG210), or the batch gives no loss.
    """
    __tracebackhide__ = True
    if not ignore:
        assert_decided(_report(model, batch, loss), "unreached-parameters")
        return
    with kept(model):
        model.train()
        (loss or own_loss)(model, batch).backward()
        missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if missing := [name for name in missing if not matches(name, ignore)]:
        raise AssertionError(
            f"{len(missing)} trainable parameters receive no gradient: {listed(missing)}"
        )


def assert_finite_gradients(model: Module, batch: Any, *, loss: Loss | None = None) -> None:
    """Assert that no gradient of the loss is NaN or infinite.

    Args:
        model: the module that is to be trained.
        batch: what it is called with.
        loss: function of the model and the batch.

    Raises:
        AssertionError: names the first parameter (TG401), or the batch gives no gradient.
    """
    __tracebackhide__ = True
    assert_decided(_report(model, batch, loss), "nonfinite-gradients")


def assert_finite_loss(model: Module, batch: Any, *, loss: Loss | None = None) -> None:
    """Assert that the loss in training mode is neither NaN nor infinite.

    Args:
        model: the module that is to be trained.
        batch: what it is called with.
        loss: function of the model and the batch.

    Raises:
        AssertionError: states the loss (TG502), or the batch gives none.
    """
    __tracebackhide__ = True
    assert_decided(_report(model, batch, loss), "nonfinite-loss")


def assert_optimizer_coverage(model: Module, optimizer: Optimizer) -> None:
    """Assert that every trainable parameter is in a parameter group of the optimizer.

    Args:
        model: the module that is to be trained, wrapped or not.
        optimizer: a torch optimizer, wrapped or not.

    Raises:
        AssertionError: names the first parameter that is not (TG203).
    """
    __tracebackhide__ = True
    from trainguard.integrations.preflight import preflight

    assert_decided(preflight(model, optimizer=optimizer), "parameters-not-in-optimizer")


def _report(model: Module, batch: Any, loss: Loss | None) -> Report:
    from trainguard.integrations.preflight import preflight

    if loss is None and isinstance(batch, Mapping):
        return preflight(model, batch, probes=("gradients",))
    columns = batch if isinstance(batch, Mapping) else {"batch": batch}
    return preflight(_with_loss(model, loss or own_loss), columns, probes=("gradients",))


def _with_loss(model: Module, loss: Loss) -> Module:
    """The model as one that returns the given loss; its parameters keep their names."""
    import torch

    class WithLoss(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, **columns: Any) -> dict[str, Any]:
            batch = columns["batch"] if set(columns) == {"batch"} else columns
            return {"loss": loss(model, batch)}

        def named_parameters(self, *args: Any, **options: Any) -> Iterator[tuple[str, Parameter]]:
            named: Iterator[tuple[str, Parameter]] = model.named_parameters(*args, **options)
            return named

    return WithLoss()
