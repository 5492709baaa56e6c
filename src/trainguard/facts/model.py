"""What the model and the optimizer of a run look like when training begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from trainguard.facts.notation import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The parameters of a live model; counts are of tensors unless a name says elements."""

    WANTED: ClassVar[str] = "the model of a training run"

    tensors: int
    """Parameter tensors, tied ones once."""
    trainable_tensors: int
    """Of these, tensors that require a gradient."""
    elements: int
    trainable_elements: int
    adapters: tuple[str, ...] = ()
    """Names of the active PEFT adapters."""
    peft_type: str | None = None
    """PEFT type of the first active adapter, e.g. "LORA"."""
    adapter_tensors: int = 0
    """Tensors of the active adapters."""
    trainable_adapter_tensors: int = 0
    adapter_example: str | None = None
    """Name of one tensor of the active adapters."""
    gradient_checkpointing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerFacts:
    """The parameters that the optimizer steps, compared with the model's."""

    WANTED: ClassVar[str] = "the optimizer of a training run"

    tensors: int
    """Tensors in all parameter groups."""
    missing: tuple[str, ...] = ()
    """Trainable parameters of the model that are in no group, at most 20 names."""
    missing_tensors: int = 0
    """How many there are in all."""
    foreign_tensors: int = 0
    """Tensors in the groups that are no parameter of the model."""


def to_dict(facts: ModelFacts | OptimizerFacts) -> dict[str, Any]:
    """The fields as JSON values."""
    return asdict(facts)


def from_dict(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """The inverse of `to_dict`; unknown fields of a newer version are left out.

    Raises:
        TypeError: a required field is missing.
    """
    known = kind.__dataclass_fields__
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
    )


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`model trainable_tensors=0 ...` and `optimizer missing=lm_head.weight ...`."""
    facts: dict[type, Any] = {}
    for line in lines:
        kind = {"model": _model, "optimizer": _optimizer}[line.word]
        record = kind(dict(line.fields))
        facts[type(record)] = record
    return facts


def _model(values: dict[str, Any]) -> ModelFacts:
    defaults = {"tensors": 42, "trainable_tensors": 42, "elements": 10**6}
    values = {**defaults, **values}
    values.setdefault("trainable_elements", 10**6 if values["trainable_tensors"] else 0)
    return _build(ModelFacts, values, "adapters")


def _optimizer(values: dict[str, Any]) -> OptimizerFacts:
    return _build(OptimizerFacts, {"tensors": 42, **values}, "missing")


def _build(kind: type[Any], values: dict[str, Any], name: str) -> Any:
    if isinstance(values.get(name), str):
        values[name] = values[name].split(",")
    return from_dict(kind, values)
