"""How assertions call a model: on a batch, for its loss, for steps of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

Loss = Callable[[Any, Any], "Tensor"]
"""From the model and the batch to a scalar with a gradient."""
Output = Callable[[Any, Any], "Tensor"]
"""From the model and the batch to one tensor."""


def called(model: Any, batch: Any) -> Any:
    """The model's output: a mapping is passed by name, a tuple or list by position."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple | list):
        return model(*batch)
    return model(batch)


def own_loss(model: Any, batch: Any) -> Tensor:
    """The loss that the model itself returns; raises TypeError if it returns none."""
    output = called(model, batch)
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None:
        raise TypeError(
            f"{type(model).__name__} returns no loss for this batch; pass loss=lambda model, "
            "batch: ..."
        )
    found: Tensor = loss.mean()
    return found


def own_output(model: Any, batch: Any) -> Tensor:
    """The logits if the output has some, else the first tensor of floats in it.

    Raises:
        TypeError: there is none.
    """
    output = called(model, batch)
    logits = getattr(output, "logits", None)
    found = logits if logits is not None else next(floats(output), None)
    if found is None:
        raise TypeError(f"{type(model).__name__} returns no tensor of floating-point numbers")
    tensor: Tensor = found
    return tensor


def floats(value: Any) -> Iterator[Any]:
    """Every tensor of floating-point numbers in a nest of mappings and sequences, in order."""
    return (tensor for tensor in tensors(value) if tensor.is_floating_point())


def tensors(value: Any) -> Iterator[Any]:
    """Every tensor in a nest of mappings and sequences, in order."""
    if hasattr(value, "is_floating_point"):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def trained(
    model: Module,
    batch: Any,
    optimizer: Optimizer,
    loss: Loss,
    steps: int,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> list[float]:
    """Make steps on one batch in training mode; returns the loss of each, before its update.

    Args:
        model: the module to train, in a block of `kept`.
        batch: the same batch for every step.
        optimizer: steps the parameters.
        loss: of the model on the batch.
        steps: how many.
        around: the context of every forward pass.
    """
    model.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with around():
            value = loss(model, batch)
        losses.append(float(value.detach()))
        value.backward()
        optimizer.step()
    return losses


def default_optimizer(model: Module, rate: float = 1e-3) -> Optimizer:
    """AdamW without weight decay over everything trainable.

    Raises:
        AssertionError: nothing is.
    """
    import torch

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise AssertionError(f"no parameter of {type(model).__name__} requires a gradient")
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)


def matches(name: str, patterns: str | Iterable[str]) -> bool:
    """Whether a parameter's name matches one of the patterns, as in a shell: `*.lora_A.*`."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(name, pattern) for pattern in listed)


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first names in words: `a, b and 3 more`."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
