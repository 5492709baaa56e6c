"""What the model and the optimizer of a run look like when training begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

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
    trainable_dtypes: tuple[str, ...] = ()
    """Precisions of the trainable tensors, e.g. "float32", sorted; empty if not recorded."""
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


_R = TypeVar("_R", ModelFacts, OptimizerFacts)


def to_dict(facts: ModelFacts | OptimizerFacts) -> dict[str, Any]:
    """The fields as JSON values."""
    return asdict(facts)


def from_dict(kind: type[_R], values: Mapping[str, Any]) -> _R:
    """The inverse of `to_dict`; unknown fields of a newer version are left out.

    Raises:
        TypeError: a required field is missing.
    """
    known = {field.name for field in fields(kind)}
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in known
    }
    return kind(**arguments)


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`model trainable_tensors=0 ...` and `optimizer missing=lm_head.weight ...`."""
    records = [_RECORDS[line.word](dict(line.fields)) for line in lines]
    return {type(record): record for record in records}


def _model(values: dict[str, Any]) -> ModelFacts:
    values = {"tensors": 42, "trainable_tensors": 42, "elements": 10**6, **values}
    values.setdefault("trainable_elements", 10**6 if values["trainable_tensors"] else 0)
    names = _names(values, "adapters") | _names(values, "trainable_dtypes")
    return from_dict(ModelFacts, values | names)


def _optimizer(values: dict[str, Any]) -> OptimizerFacts:
    return from_dict(OptimizerFacts, {"tensors": 42, **values} | _names(values, "missing"))


def _names(values: Mapping[str, Any], name: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(str(values[name]).split(","))} if name in values else {}


_RECORDS = {"model": _model, "optimizer": _optimizer}
