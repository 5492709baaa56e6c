"""How the copies of weights in an adapter's folder compare with what they should equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFormats:
    """How the `adapter_model.bin` of a folder compares with its `adapter_model.safetensors`."""

    WANTED: ClassVar[str] = "an adapter saved in both formats"

    total: int = 0
    """Tensors of either file, by name."""
    differing: Mapping[str, str] = field(default_factory=dict)
    """What differs, by tensor: "its values", "its shape" or the only file that has it."""
    uncompared: tuple[str, ...] = ()
    """Tensors whose elements do not stand in `adapter_model.bin` one after the other."""
    problem: str = ""
    """Why the two were not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBesideAdapter:
    """How the full model in an adapter's folder compares with the adapter's base model."""

    WANTED: ClassVar[str] = "a full model in an adapter's folder"

    base: str
    """`base_model_name_or_path`; "" if the config does not say it."""
    compared: int = 0
    """Weights of adapted modules that were compared; a few stand for all."""
    changed: tuple[str, ...] = ()
    """Those of them that are not the base model's."""
    problem: str = ""
    """Why none was compared."""
