"""Gradients and updates layer by layer: which tensor belongs where, and which steps are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

from trainguard.facts.layers import LayerStep, layers_of
from trainguard.gather.step_tensors import SAMPLE, here

if TYPE_CHECKING:
    from torch import Tensor

    from trainguard.gather.step_under_way import PendingStep

#: As many steps are kept at the beginning, one after the other; later ones are that part of the
#: steps so far apart, so that the record of a run of a million has about seven hundred.
FINENESS = 64
#: Unusual steps that are kept besides.
MOST_UNUSUAL = 256
#: Steps that may wait to be taken away.
WAITING = 64


@dataclass(frozen=True, slots=True)
class Stretches:
    """A sample of neighbouring tensors, cut where another layer begins."""

    layers: tuple[str, ...]
    """The layer of each stretch; one may have several."""
    sizes: tuple[int, ...]
    """Elements of each stretch."""


class Layers:
    """The layers of the trainable parameters, and what was seen of them at steps worth keeping."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._trainable: list[str] = []
        self._sampled: list[str] = []
        self._stretches = Stretches((), ())
        self._ended = 0
        self._next = 0
        self._unusual = 0
        self._was_unusual = False
        self._kept: deque[LayerStep] = deque(maxlen=WAITING)

    def find(self, trainable: list[str]) -> None:
        """Take in the names of the parameters that are trained, when they change."""
        self._trainable, self._of = trainable, layers_of(trainable)
        self._sampled = []

    def stretches(self, names: list[str], tensors: Sequence[Tensor]) -> Stretches:
        """How a sample of these tensors is cut.

        Args:
            names: of parameters that are trained.
            tensors: the parameters, in the same order.
        """
        if names != self._sampled:
            self._sampled, self._stretches = names, self._cut(names, tensors)
        return self._stretches

    def _cut(self, names: Sequence[str], tensors: Sequence[Tensor]) -> Stretches:
        layers: list[str] = []
        sizes: list[int] = []
        for name, tensor in zip(names, tensors, strict=True):
            layer, size = self._of[name], min(here(tensor).numel(), SAMPLE)
            if layers and layers[-1] == layer:
                sizes[-1] += size
            else:
                layers.append(layer)
                sizes.append(size)
        return Stretches(tuple(layers), tuple(sizes))

    @property
    def are_due(self) -> bool:
        """Whether a close look at the step that is under way is to be cut into layers."""
        return self._ended >= self._next

    def step_ended(self, *, seen: bool) -> None:
        """Count a step; `seen` says whether it was looked at layer by layer."""
        self._ended += 1
        if seen:
            self._next = self._ended + self._ended // FINENESS

    def want(self, step: PendingStep, *, is_unusual: bool) -> bool:
        """Whether a step is kept: one that was looked at layer by layer, or an unusual one.

        Args:
            step: each step of the run, once and in order.
            is_unusual: whether something about it is; the first of several such in a row is kept.
        """
        is_new = is_unusual and not self._was_unusual and self._unusual < MOST_UNUSUAL
        self._was_unusual = is_unusual
        self._unusual += is_new and step.cut is None
        return bool(step.trainable) and (step.cut is not None or is_new)

    def keep(self, step: PendingStep, values: Mapping[str, list[float]]) -> None:
        """Keep what was seen of a step.

        Args:
            step: the step.
            values: its numbers, by name: the "norms" of gradients, and where it was cut into
                stretches, for each the norm of the "update", of the "weight", and of the sampled
                gradient that "reached" it.
        """
        assert step.trainable is not None
        layer_of = layers_of(step.trainable) if step.trainable != self._trainable else self._of
        names = tuple(dict.fromkeys(layer_of.values()))
        cut = step.cut.layers if step.cut is not None else ()
        norms = step.norms(values)
        gradients = _by_layer([layer_of[name] for name, _ in norms], [norm for _, norm in norms])
        updates = _by_layer(cut, values.get("update", ()))
        weights = _by_layer(cut, values.get("weight", ()))
        reached = _by_layer(cut, values.get("reached", ()))
        ratios = {
            name: updates[name] / weights[name]
            for name in updates
            if weights.get(name) and reached.get(name)
        }
        self._kept.append(
            LayerStep(
                step=step.step,
                names=names,
                gradients=tuple(gradients.get(name, 0.0) for name in names),
                ratios=tuple(ratios.get(name) for name in names),
            )
        )

    def taken(self) -> list[LayerStep]:
        """What was kept since the last call."""
        kept = list(self._kept)
        self._kept.clear()
        return kept


def _by_layer(layers: Sequence[str], norms: Sequence[float]) -> dict[str, float]:
    parts: dict[str, list[float]] = {}
    for layer, norm in zip(layers, norms, strict=False):
        parts.setdefault(layer, []).append(norm)
    return {layer: hypot(*of_layer) for layer, of_layer in parts.items()}
