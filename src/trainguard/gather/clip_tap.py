"""The norms that gradient clipping computes anyway, taken where it computes them.

`clip_grad_norm_` of torch, and whatever calls it (accelerate, the Trainer, TRL), looks up
`torch.nn.utils.clip_grad._get_total_norm` at every call. While a run is watched a function with
the same result stands there, which also hands out the norm of each tensor. The name is private: if
it is not there, or the result differs in one bit, nothing is put in its place.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

NAME = "_get_total_norm"

Take = Callable[[Sequence["Tensor"], "Tensor"], None]
_takers: list[weakref.WeakMethod[Take]] = []


def tap(take: Take) -> Callable[[], None]:
    """Hand out the tensors and their L2 norms, one each, at every clipping by norm.

    Args:
        take: a bound method, held weakly, for a run that fails ends nothing. It is called with the
            tensors, before they are scaled, and a vector of their norms in the same order, on
            their device; must not raise.

    Returns:
        What ends it.
    """
    from torch.nn.utils import clip_grad

    original = getattr(clip_grad, NAME, None)
    if original is None:
        return lambda: None
    if not hasattr(original, "trainguard"):
        tapped = _tapped(original)
        if not _agree(original, tapped):
            return lambda: None
        setattr(clip_grad, NAME, tapped)
    taker = weakref.WeakMethod(take)
    _takers.append(taker)

    def end() -> None:
        if taker in _takers:
            _takers.remove(taker)
        _restore_if_unused()

    return end


def _restore_if_unused() -> None:
    from torch.nn.utils import clip_grad

    _takers[:] = [taker for taker in _takers if taker() is not None]
    now = getattr(clip_grad, NAME)
    if not _takers and hasattr(now, "trainguard"):
        setattr(clip_grad, NAME, now.__wrapped__)


def _tapped(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    import torch

    @functools.wraps(original)
    def get_total_norm(
        tensors: Any,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> Tensor:
        tensors = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
        is_plain = norm_type == 2 and not error_if_nonfinite and foreach is not False
        if not is_plain or not _is_one_group(tensors) or torch.compiler.is_compiling():
            return original(tensors, norm_type, error_if_nonfinite, foreach)
        with torch.no_grad():
            each = torch.stack(torch._foreach_norm(tensors, 2.0))
            total = torch.linalg.vector_norm(each, 2.0)
        for taker in tuple(_takers):
            if (take := taker()) is not None:
                take(tensors, each)
        return total

    get_total_norm.trainguard = True  # type: ignore[attr-defined]
    return get_total_norm


def _is_one_group(tensors: Sequence[Tensor]) -> bool:
    """Whether they are plain tensors of one device and type, none whose squares overflow early."""
    import torch

    if not tensors:
        return False
    device, dtype = tensors[0].device, tensors[0].dtype
    return (
        device.type in ("cpu", "cuda")
        and dtype in (torch.float32, torch.bfloat16)
        and all(type(tensor) is torch.Tensor for tensor in tensors)
        and all(tensor.device == device and tensor.dtype == dtype for tensor in tensors)
        and all(tensor.layout is torch.strided for tensor in tensors)
    )


def _agree(original: Callable[..., Tensor], tapped: Callable[..., Tensor]) -> bool:
    """Whether both say the same to the last bit, of tensors that a rounding would tell apart."""
    import torch

    try:
        for dtype in (torch.float32, torch.bfloat16):
            numbers = torch.arange(1.0, 1000.0, device="cpu")
            tensors = [(numbers[:size] / 7).sin().to(dtype) for size in (5, 100, 1000)]
            if original(tensors).tolist() != tapped(tensors).tolist():
                return False
    except Exception:  # a private function may have changed in any way
        return False
    return True
