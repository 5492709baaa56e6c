"""Assertions on training steps: which parameters move, and whether the loss follows.

Everything is as before afterwards: parameters, buffers, gradients, modes, random states and the
optimizer's state are restored to the bit. `batch` is what the model is called with: a mapping by
name, a tuple by position, anything else as the one argument. `loss` is a function of the model
and the batch; the loss that the model returns by default. `optimizer` is AdamW with a rate of
1e-3 by default.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trainguard.testing._running import (
    Loss,
    default_optimizer,
    listed,
    matches,
    own_loss,
    trained,
)
from trainguard.testing._state import kept, seed_everything

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

#: LoRA begins with B = 0: only the second step gives A a gradient.
STEPS = 2


def assert_parameters_change(
    model: Module,
    batch: Any,
    optimizer: Optimizer | None = None,
    *,
    loss: Loss | None = None,
    steps: int = STEPS,
    ignore: str | Iterable[str] = (),
) -> None:
    """Assert that every trainable parameter differs after some steps.

    Args:
        model: the module that is trained.
        batch: what it is called with.
        optimizer: the one that is to be tested.
        loss: function of the model and the batch.
        steps: optimizer steps. Two, because one leaves the A matrices of a fresh LoRA as they are.
        ignore: patterns of names that may stay, such as `*.experts.*`.

    Raises:
        AssertionError: names those that are the same to the bit.
    """
    __tracebackhide__ = True
    moved, still = _moved(model, batch, optimizer, loss, steps)
    wanted = [n for n, p in model.named_parameters() if p.requires_grad and not matches(n, ignore)]
    if not wanted:
        raise AssertionError(f"no parameter of {type(model).__name__} requires a gradient")
    if stuck := [name for name in wanted if name in still]:
        raise AssertionError(
            f"{len(stuck)} of {len(wanted)} trainable parameters are the same to the bit after "
            f"{steps} steps ({len(moved)} changed): {listed(stuck)}"
        )


def assert_frozen(
    model: Module,
    batch: Any,
    optimizer: Optimizer | None = None,
    *,
    names: str | Iterable[str] | None = None,
    loss: Loss | None = None,
    steps: int = STEPS,
) -> None:
    """Assert that frozen parameters are the same to the bit after some steps.

    Args:
        model: the module that is trained.
        batch: what it is called with.
        optimizer: the one that is to be tested; it may hold the frozen parameters, too.
        names: patterns of the names that must not change, such as `encoder.*`; by default those
            that require no gradient.
        loss: function of the model and the batch.
        steps: optimizer steps.

    Raises:
        AssertionError: names those that changed, or nothing is frozen.
    """
    __tracebackhide__ = True
    frozen = [
        name
        for name, parameter in model.named_parameters()
        if (not parameter.requires_grad if names is None else matches(name, names))
    ]
    if not frozen:
        raise AssertionError("nothing is frozen" if names is None else f"nothing matches {names}")
    moved, _ = _moved(model, batch, optimizer, loss, steps)
    if changed := [name for name in frozen if name in moved]:
        raise AssertionError(
            f"{len(changed)} of {len(frozen)} frozen parameters changed in {steps} steps: "
            f"{listed(changed)}"
        )


def assert_loss_decreases(
    model: Module,
    batch: Any,
    optimizer: Optimizer | None = None,
    *,
    loss: Loss | None = None,
    steps: int = 20,
    by: float = 0.1,
) -> None:
    """Assert that the loss on one batch falls within some steps by a share of itself.

    Args:
        model: the module that is trained.
        batch: the same for every step.
        optimizer: the one that is to be tested.
        loss: function of the model and the batch, above 0.
        steps: optimizer steps, 4 or more.
        by: share of the first loss, from 0 to 1.

    Raises:
        AssertionError: states the losses.
    """
    __tracebackhide__ = True
    _assert_falls(model, batch, optimizer, loss, steps, 1 - by)


def assert_overfits_batch(
    model: Module,
    batch: Any,
    optimizer: Optimizer | None = None,
    *,
    loss: Loss | None = None,
    steps: int = 100,
    ratio: float = 0.1,
) -> None:
    """Assert that the model can learn one batch by heart.

    A small adapter on an untrained base model needs a higher rate or more steps than the default
    optimizer gives.

    Args:
        model: the module that is trained.
        batch: the same for every step.
        optimizer: the one that is to be tested.
        loss: function of the model and the batch, above 0.
        steps: optimizer steps, 4 or more.
        ratio: share of the first loss that the mean of the last three must not exceed.

    Raises:
        AssertionError: states the losses.
    """
    __tracebackhide__ = True
    _assert_falls(model, batch, optimizer, loss, steps, ratio)


def assert_deterministic_step(
    model: Module,
    batch: Any,
    optimizer: Optimizer | None = None,
    *,
    loss: Loss | None = None,
    seed: int = 0,
    steps: int = 1,
) -> None:
    """Assert that the same steps with the same seed give the same loss and weights to the bit.

    Args:
        model: the module that is trained.
        batch: what it is called with.
        optimizer: the one that is to be tested.
        loss: function of the model and the batch.
        seed: of Python's, numpy's and torch's generators before the first step.
        steps: optimizer steps.

    Raises:
        AssertionError: states the losses that differ, or names the parameters.
    """
    __tracebackhide__ = True
    runs = []
    for _ in range(2):
        optimizer_ = optimizer or default_optimizer(model)
        with kept(model, optimizer_):
            seed_everything(seed)
            losses = trained(model, batch, optimizer_, loss or own_loss, steps)
            runs.append((losses, _copies(model)))
    (losses, first), (again, second) = runs
    # NaN is as good as NaN: whether a loss is finite is another question.
    if list(map(repr, losses)) != list(map(repr, again)):
        raise AssertionError(f"the same step gave the losses {losses} and {again}")
    if differing := [name for name, tensor in first.items() if not _same(tensor, second[name])]:
        raise AssertionError(
            f"{len(differing)} of {len(first)} parameters differ after the same {steps} steps: "
            f"{listed(differing)}"
        )


def _moved(
    model: Module, batch: Any, optimizer: Optimizer | None, loss: Loss | None, steps: int
) -> tuple[set[str], set[str]]:
    """Names of the parameters that differ after some steps, and of the others."""
    optimizer = optimizer or default_optimizer(model)
    with kept(model, optimizer):
        before = _copies(model)
        trained(model, batch, optimizer, loss or own_loss, steps)
        moved = {n for n, p in model.named_parameters() if not _same(p, before[n])}
    return moved, set(before) - moved


def _copies(model: Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _same(first: Tensor, second: Tensor) -> bool:
    """Equal to the bit, but for the payload of NaNs and the sign of zeros."""
    import torch

    first, second = first.detach(), second.detach()
    alike: bool = torch.equal(first.isnan(), second.isnan())
    return alike and bool(torch.equal(first.nan_to_num(), second.nan_to_num()))


def _assert_falls(
    model: Module,
    batch: Any,
    optimizer: Optimizer | None,
    loss: Loss | None,
    steps: int,
    ratio: float,
) -> None:
    __tracebackhide__ = True
    if steps < 4:
        raise ValueError(f"steps is {steps}; at least 4 are needed")
    optimizer = optimizer or default_optimizer(model)
    with kept(model, optimizer):
        losses = trained(model, batch, optimizer, loss or own_loss, steps)
    first, last = losses[0], sum(losses[-3:]) / 3
    if not last <= ratio * first:  # not so either if one is NaN
        raise AssertionError(
            f"the loss went from {first:.4g} to {last:.4g} (mean of the last 3) in {steps} steps "
            f"on one batch; {ratio * first:.4g} or less was expected"
        )
