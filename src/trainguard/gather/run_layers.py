"""Layer by layer, in the record of a run: the names in one line, then a line for each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trainguard.facts.layers import MAX_LAYERS, LayerStep

#: Steps that are read at most; trainguard writes about seven hundred in a million.
MAX_LAYER_STEPS = 4096
#: Characters of a name that are read.
MAX_NAME = 300


class LayerWriter:
    """Gives the lines to write; names only where they are others than in the line before."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()

    def entries(self, steps: Iterable[LayerStep]) -> Iterator[dict[str, Any]]:
        """The entries of the record, as strict JSON values of four significant digits."""
        for step in steps:
            if step.names != self._names:
                self._names = step.names
                yield {"kind": "layers", "names": list(step.names)}
            yield {
                "kind": "layer-step",
                "step": step.step,
                "gradients": [_short(value) for value in step.gradients],
                "ratios": [_short(value) for value in step.ratios],
            }


def _short(value: float | None) -> float | str | None:
    if value is None:
        return None
    short = float(f"{value:.4g}")
    return short if abs(short) < float("inf") else str(short)


class LayerReader:
    """The inverse: takes entries of a record in order; raises ValueError on a foreign one."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._steps: dict[int, LayerStep] = {}

    @property
    def steps(self) -> tuple[LayerStep, ...]:
        """The steps, in order; of a step that was recorded twice the later record."""
        return tuple(self._steps[number] for number in sorted(self._steps))

    def name(self, entry: Mapping[str, Any]) -> None:
        """Take in the names of the layers that follow."""
        names = entry.get("names")
        if not isinstance(names, list) or len(names) > MAX_LAYERS:
            raise ValueError(f"names of layers are no list of at most {MAX_LAYERS}")
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a name of a layer is no text")
        self._names = tuple(name[:MAX_NAME] for name in names)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take in one step; of more than are read, the first."""
        step = entry.get("step")
        if type(step) is not int or step < 1:
            raise ValueError(f"step is {step!r}"[:100])
        if len(self._steps) >= MAX_LAYER_STEPS and step not in self._steps:
            return
        self._steps[step] = LayerStep(
            step=step,
            names=self._names,
            gradients=tuple(_number(value) for value in self._values(entry, "gradients")),
            ratios=tuple(
                None if value is None else _number(value) for value in self._values(entry, "ratios")
            ),
        )

    def _values(self, entry: Mapping[str, Any], field: str) -> list[Any]:
        values = entry.get(field)
        if not isinstance(values, list) or len(values) != len(self._names):
            raise ValueError(f"{field} are not one value for each of {len(self._names)} layers")
        return values


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no number"[:100])
    return float(value)
