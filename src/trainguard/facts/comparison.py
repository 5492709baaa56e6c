"""What two adapters or checkpoints differ in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDifference:
    """One field of the configs."""

    key: str
    a: Any
    """None also where the field is missing, which `only_in` tells."""
    b: Any
    only_in: str = ""
    """ "a" or "b" if the other config lacks the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDifference:
    """One tensor that is not the same on both sides, by its dtype and shape there."""

    name: str
    a: str
    """As `F32 16x8`; "" if it is missing."""
    b: str
    distance: float | None = None
    """L2 norm of the difference by the larger of the two norms, from 0 to 2; NaN if values are
    not finite, None if they cannot be subtracted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that two folders differ in."""

    a: str
    b: str
    fields: Sequence[FieldDifference]
    tensors: Sequence[TensorDifference]
    same: int
    """Tensors that are identical in dtype, shape and every bit."""

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not self.fields and not self.tensors
