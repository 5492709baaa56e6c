"""A block in which a model may be trained, and after which it is as before."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from trainguard.gather.preflight_state import untouched

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer


@contextmanager
def kept(model: Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """Restore to the bit what training steps change.

    Parameters, buffers, gradients, modes, random states, and the optimizer's state and groups.
    The values of the parameters are held twice meanwhile.
    """
    with ExitStack() as undo:
        undo.callback(_parameters(model))
        if optimizer is not None:
            undo.callback(_optimizer(optimizer))
        undo.enter_context(untouched(model))
        yield


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, torch and, if it is loaded, numpy."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


def _parameters(model: Module) -> Callable[[], None]:
    before = [(p, p.data, p.detach().clone()) for p in model.parameters()]

    def restore() -> None:
        for parameter, data, values in before:
            data.copy_(values)
            parameter.data = data

    return restore


def _optimizer(optimizer: Optimizer) -> Callable[[], None]:
    """Groups and state are put back as the objects they were, with the values they had."""
    import torch

    attributes = dict(vars(optimizer))
    groups = [(group, dict(group), list(group["params"])) for group in optimizer.param_groups]
    states = [(state, dict(state)) for state in optimizer.state.values()]
    keys = dict(optimizer.state)
    values = [
        (value, value.detach().clone())
        for _, entries in states
        for value in entries.values()
        if isinstance(value, torch.Tensor)
    ]

    def restore() -> None:
        vars(optimizer).clear()
        vars(optimizer).update(attributes)
        for group, entries, parameters in groups:
            _refill(group, entries)
            group["params"][:] = parameters
        _refill(optimizer.state, keys)
        for state, entries in states:
            _refill(state, entries)
        for value, old in values:
            value.detach().copy_(old)

    return restore


def _refill(mapping: dict[Any, Any], entries: dict[Any, Any]) -> None:
    mapping.clear()
    mapping.update(entries)
