"""What is computed of a step's tensors: out of place, on their device, without random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

#: Elements of each parameter that are compared before and after an update; whether a tensor moves
#: at all needs no more.
SAMPLE = 64


def norms(gradients: Sequence[Tensor]) -> Tensor | None:
    """L2 norm of each gradient, in float32 or better (float16 would overflow above 65504).

    The norm is NaN or infinite exactly if an element is, up to overflow above 1.8e19, and zero
    exactly if all are, down to underflow of their squares below 1e-22.
    """
    import torch

    if not gradients:
        return None
    wide = any(gradient.dtype == torch.float64 for gradient in gradients)
    dtype = torch.float64 if wide else torch.float32
    home = gradients[0].device
    with torch.no_grad():
        each = torch._foreach_norm(gradients, 2, dtype=dtype)
        if any(norm.device != home for norm in each):
            each = tuple(norm.to(home, non_blocking=True) for norm in each)
        return torch.stack(each)


def sample(tensors: Sequence[Tensor]) -> Tensor | None:
    """The first elements of each tensor, in one vector of its own storage."""
    import torch

    if not tensors:
        return None
    home = here(tensors[0]).device
    with torch.no_grad():
        heads = [head(here(tensor)) for tensor in tensors]
        if any(part.device != home for part in heads):
            heads = [part.to(home, non_blocking=True) for part in heads]
        return torch.cat(heads)


def head(tensor: Tensor) -> Tensor:
    """The first elements by index, wherever they lie."""
    count = min(tensor.numel(), SAMPLE)
    if tensor.is_contiguous():
        # One call: this runs four times a step for each tensor.
        return tensor.as_strided((count,), (1,))
    while tensor.dim() > 1 and tensor[0].numel() >= count:
        tensor = tensor[0]
    rows = count if tensor.dim() == 1 else ceil(count / tensor[0].numel())
    return tensor[:rows].reshape(-1)[:count]


def stretch_norms(vectors: Sequence[Tensor], sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Of each vector, the L2 norms of the stretches of these sizes that it consists of."""
    import torch

    parts = [part for vector in vectors for part in vector.split(sizes)]
    with torch.no_grad():
        each = torch.stack(torch._foreach_norm(parts, 2, dtype=torch.float32))
    return tuple(each.split(len(sizes)))


def gradient(parameter: Tensor) -> Tensor:
    """What the optimizer goes by; a gradient that was taken away counts as zero."""
    if parameter.grad is not None:
        return here(parameter.grad)
    held = here(parameter)
    return held.new_zeros(min(held.numel(), SAMPLE))


def here(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: the local shard of a DTensor, else all of it."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def detached(loss: Any) -> Any:
    """A loss as a number or a tensor of one, without its graph."""
    import torch

    if not isinstance(loss, torch.Tensor):
        return float(loss)
    return loss.detach() if loss.dim() == 0 else loss.detach().sum()


def with_flaw(loss: Any, root: Any) -> Any:
    """A loss as it is, but NaN where what the backward pass began at is not finite.

    Args:
        loss: scalar tensor, what the model returned.
        root: tensor of any size, or None: the same times what a loop makes of it.
    """
    loss = detached(loss)
    if root is None:
        return loss
    root = detached(root)
    return loss + (root - root).to(getattr(loss, "device", root.device), non_blocking=True)


def is_integer_tensor(value: Any) -> bool:
    """Whether this can be labels of tokens."""
    import torch

    return isinstance(value, torch.Tensor) and value.dtype in {torch.int64, torch.int32}


def is_shard(parameter: Tensor) -> bool:
    """Whether other processes hold other parts of it, as of FSDP2's DTensors."""
    return hasattr(parameter, "to_local")


def is_flat(parameter: Tensor) -> bool:
    """Whether it is no tensor of the model's own: a flat parameter of FSDP, or one of ZeRO-3."""
    return any(hasattr(parameter, mark) for mark in ("_is_flat_param", "ds_id"))
