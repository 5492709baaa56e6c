"""Which parts of an input influence which parts of the output, by gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainguard.gather.preflight_state import untouched
from trainguard.testing._running import Output, floats, tensors

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

SEED = 20_000


def influences(
    model: Module, batch: Any, output: Output, axis: int, *, training: bool = False
) -> list[set[int]]:
    """For every index of an axis of the output, the indices of the input that it depends on.

    The gradient of a random projection is taken, because plain sums may be constant (those of a
    softmax are), with respect to the floats of the batch and to the embeddings of its integers.

    Args:
        model: the module; it is as before afterwards.
        batch: what it is called with.
        output: function of the model and the batch, to a tensor of shape (rows, positions, ...).
        axis: 0 for rows, 1 for positions.
        training: whether the model is called in training mode.

    Raises:
        AssertionError: the output is not differentiable, depends on nothing, or is not finite.
    """
    import torch

    with untouched(model), torch.enable_grad():
        model.train(training)
        with _differentiable(model, batch) as (inputs, sources):
            values = output(model, inputs)
            weights = torch.randn(
                values.shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float32
            ).to(values.device, values.dtype)
            if values.ndim <= axis:
                raise AssertionError(f"the output has the shape {tuple(values.shape)}")
            length = values.shape[axis]
            parts = (values * weights).transpose(0, axis).reshape(length, -1).sum(1)
            # What has another length, as a table of positions, is no part of the examples.
            known = [one for one in sources if one.ndim > axis and one.shape[axis] == length]
            if not (parts.requires_grad and known):
                raise AssertionError("the output has no gradient with respect to the input")
            found = [_seen(part, known, axis) for part in parts]
    if not any(found):
        raise AssertionError("the output depends on no part of the input")
    return found


def _seen(part: Tensor, sources: list[Tensor], axis: int) -> set[int]:
    import torch

    gradients = torch.autograd.grad(part, sources, retain_graph=True, allow_unused=True)
    seen: set[int] = set()
    for gradient in gradients:
        if gradient is not None:
            turned = gradient.transpose(0, axis)
            by_index = turned.reshape(len(turned), -1).abs().sum(1)
            if not by_index.isfinite().all():
                raise AssertionError("the gradient of the output is NaN or infinite")
            seen.update(by_index.nonzero().flatten().tolist())
    return seen


@contextmanager
def _differentiable(model: Module, batch: Any) -> Iterator[tuple[Any, list[Tensor]]]:
    """The batch, and the tensors in it, or soon in the list, that gradients are taken of."""
    import torch

    inputs = _fresh(batch)
    sources = list(floats(inputs))
    tokens = list(_integers(inputs))

    def catch(module: Any, args: tuple[Any, ...], result: Tensor) -> Tensor:
        if not any(one.shape == args[0].shape and torch.equal(one, args[0]) for one in tokens):
            return result
        sources.append(result.detach().requires_grad_())
        return sources[-1]

    embeddings = [one for one in model.modules() if isinstance(one, torch.nn.Embedding)]
    handles = [one.register_forward_hook(catch) for one in embeddings]
    try:
        yield inputs, sources
    finally:
        for handle in handles:
            handle.remove()


def _integers(value: Any) -> Iterator[Any]:
    return (one for one in tensors(value) if not one.is_floating_point())


def _fresh(value: Any) -> Any:
    """The same nest with leaves of its own in place of the tensors of floats."""
    if hasattr(value, "is_floating_point"):
        return value.detach().clone().requires_grad_() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: _fresh(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_fresh(item) for item in value)
    return value
