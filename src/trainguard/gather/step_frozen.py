"""Whether frozen weights keep their values while the others are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainguard.gather.step_tensors import SAMPLE, here, sample

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

#: Steps from one look to the next; each of the first ones is looked at.
EVERY = 16
FIRST = 8


class FrozenWeights:
    """The frozen parameters of a model, by a sample of each, as they were at the beginning.

    Args:
        named: the parameters that require no gradient, with their names.
    """

    def __init__(self, named: Sequence[tuple[str, Parameter]]) -> None:
        import torch

        known = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
        self._named = [(name, p) for name, p in named if p.dtype in known and here(p).numel()]
        self._then = self._now()
        if self._then is not None:
            sizes = [min(here(parameter).numel(), SAMPLE) for _, parameter in self._named]
            ends = torch.tensor(sizes, device="cpu").cumsum(0) - 1
            self._ends = ends.to(self._then.device)

    def is_due(self, step: int) -> bool:
        """Whether this step is one to look at."""
        return self._then is not None and (step <= FIRST or step % EVERY == 0)

    @property
    def names(self) -> list[str]:
        """The parameters; "" for one that has been unfrozen since."""
        return ["" if parameter.requires_grad else name for name, parameter in self._named]

    def changed(self) -> Tensor | None:
        """How many sampled elements have another value than at the beginning.

        Returns:
            An integer vector in the order of `names`, each with the parameters before it: a running
            sum, which a device gives without making the host wait. None if nothing is frozen.
        """
        import torch

        now = self._now()
        if now is None or self._then is None:
            return None
        differs = (now != self._then) & ~(torch.isnan(now) & torch.isnan(self._then))
        return differs.to(torch.int32).cumsum(0).index_select(0, self._ends)

    def _now(self) -> Tensor | None:
        return sample([parameter for _, parameter in self._named])
