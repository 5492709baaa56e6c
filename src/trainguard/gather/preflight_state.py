"""A block in which a model may be run forward and backward, and after which it is as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from trainguard.gather.evaluation_state import preserved

if TYPE_CHECKING:
    from torch.nn import Module


@contextmanager
def untouched(model: Module) -> Iterator[None]:
    """Restore to the bit what probing may change.

    Random states, the mode of every module, gradients (set aside, not copied), which parameters
    require one, and buffers: their values and which tensor they are. Parameter values are not
    saved, because no probe steps an optimizer.
    """
    with ExitStack() as undo:
        undo.enter_context(preserved([model]))
        undo.callback(_buffers(model))
        undo.callback(_gradients(model))
        yield


def _gradients(model: Module) -> Callable[[], None]:
    before = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    for parameter, _, _ in before:
        parameter.grad = None

    def restore() -> None:
        for parameter, gradient, required in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient

    return restore


def _buffers(model: Module) -> Callable[[], None]:
    import torch

    before = [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]

    def restore() -> None:
        for module, name, buffer, values in before:
            module._buffers[name] = buffer
            if buffer is not None and values is not None:
                with torch.no_grad():
                    buffer.copy_(values)

    return restore
