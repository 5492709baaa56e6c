"""Everything that was recorded of one training run, to be looked at as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainguard.facts.layers import LayerStep
from trainguard.facts.steps import StepFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The recorded steps of one training run, in order."""

    name: str
    """As the findings of the run name their subject."""
    steps: Sequence[StepFacts] = ()
    layers: Sequence[LayerStep] = ()
    """The steps that were looked at layer by layer; fewer, and of a log alone none."""
