"""One optimizer step: what is known while it runs, and the facts once its numbers are here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot, isfinite
from typing import TYPE_CHECKING, Any

from trainguard.facts.steps import IDLE_STEPS, StepFacts
from trainguard.gather.step_layers import Stretches
from trainguard.gather.step_numbers import Numbers

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

MAX_NAMES = 20


@dataclass(slots=True)
class OpenStep:
    """What is known of the step that is under way; tensors stay on their device."""

    batches: int = 0
    """Micro-batches so far."""
    losses: list[Any] = field(default_factory=list)
    tokens: dict[int, Any] = field(default_factory=dict)
    """Supervised tokens, by micro-batch."""
    model_losses: list[tuple[int, Any]] = field(default_factory=list)
    """With the micro-batch in whose forward pass the model returned it."""
    numbers: dict[str, Any] = field(default_factory=dict)
    trainable: list[str] | None = None
    parameters: list[Parameter] = field(default_factory=list)
    """Those that hold a gradient."""
    owners: dict[int, str] = field(default_factory=dict)
    """Their names, in the same order, by the identity of the gradient."""
    normed: list[str] = field(default_factory=list)
    """Whose norms they are, in order; "" for one of another model."""
    frozen: list[str] = field(default_factory=list)
    received: Tensor | None = None
    weights: Tensor | None = None
    cut: Stretches | None = None
    """How `weights` and the sample of the update are cut into layers; None if they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingStep:
    """A step whose numbers may still be on their way to the host."""

    step: int
    rates: tuple[float, ...] | None
    stepped: bool | None
    labelled: tuple[int, ...]
    """The micro-batches whose tokens were counted."""
    forwards: tuple[int, ...]
    """The micro-batch of each loss that the model returned."""
    is_whole: bool
    """Whether this process holds all of each tensor."""
    normed: list[str]
    trainable: list[str] | None
    frozen: list[str]
    cut: Stretches | None
    numbers: Numbers

    def facts(
        self, values: Mapping[str, list[float]], idle: dict[str, int] | None = None
    ) -> StepFacts:
        """The step as its numbers tell.

        Args:
            values: the numbers, by name.
            idle: for how many steps each parameter has had no gradient; is kept up to date.
        """
        own = self.norms(values)
        bad = [name for name, norm in own if not isfinite(norm)]
        changed = list(_changed(self.frozen, values.get("frozen", [])))
        seen = self.trainable is not None
        # Of a shard, zeros and norms say nothing about the tensor; what is not finite does.
        total = self.trainable if self.is_whole else None
        live = {name for name, norm in own if norm != 0.0}
        facts = StepFacts(
            step=self.step,
            loss=_total(values.get("losses")),
            model_loss=_total(list(self._model_losses(values))),
            grad_norm=hypot(*(norm for _, norm in own)) if total is not None else None,
            learning_rates=self.rates,
            supervised_tokens=int(sum(values["tokens"])) if values.get("tokens") else None,
            gradients=len(total) if total is not None else None,
            zero_gradients=len(total) - len(live) if total is not None else None,
            nonfinite_gradients=tuple(bad[:MAX_NAMES]),
            nonfinite_tensors=len(bad) if seen else None,
            stepped=False if _first(values, "skips") else self.stepped,
            sampled=_count(values, "sampled"),
            moved=_count(values, "moved"),
            drifted=_count(values, "drifted"),
            update_ratio=_ratio(_norm(values.get("update")), _norm(values.get("weight"))),
            zeroed=_count(values, "zeroed"),
            nonfinite_at_step=_count(values, "nonfinite_at_step"),
            frozen=len(self.frozen) or None,
            frozen_moved=tuple(changed[:MAX_NAMES]),
            frozen_moved_tensors=len(changed) if self.frozen else None,
        )
        if idle is None or total is None or not facts.trains:
            return facts
        without = [name for name in total if name not in live]
        new = _idle_now(idle, without) if without or idle else []
        return replace(facts, idle=tuple(new[:MAX_NAMES]), idle_tensors=len(new)) if new else facts

    def norms(self, values: Mapping[str, list[float]]) -> list[tuple[str, float]]:
        """The parameters whose gradients were measured, with their L2 norms."""
        return [(n, x) for n, x in zip(self.normed, values.get("norms", []), strict=False) if n]

    def _model_losses(self, values: Mapping[str, list[float]]) -> Iterator[float]:
        """Those of micro-batches with a label: without one the model's mean is 0/0, by nature."""
        tokens = dict(zip(self.labelled, values.get("tokens", []), strict=True))
        for batch, loss in zip(self.forwards, values.get("model_losses", []), strict=True):
            if tokens.get(batch) != 0:
                yield loss


def _idle_now(idle: dict[str, int], without: Sequence[str]) -> list[str]:
    """Count one more step without a gradient; returns those for which it has become too many."""
    counts = {name: idle.get(name, 0) + 1 for name in without}
    idle.clear()
    idle.update(counts)
    return [name for name, count in counts.items() if count == IDLE_STEPS]


def _changed(names: Sequence[str], running: Sequence[float]) -> Iterator[str]:
    """The names at which a running sum rises; "" is left out."""
    before = 0.0
    for name, total in zip(names, running, strict=False):
        if name and total > before:
            yield name
        before = total


def _total(values: Sequence[float] | None) -> float | None:
    return float(sum(values)) if values else None


def _norm(parts: Sequence[float] | None) -> float | None:
    return hypot(*parts) if parts else None


def _first(values: Mapping[str, list[float]], name: str) -> float | None:
    return float(values[name][0]) if values.get(name) else None


def _count(values: Mapping[str, list[float]], name: str) -> int | None:
    return int(values[name][0]) if values.get(name) else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    """None where the weights are all zero, as those of a fresh LoRA factor."""
    return part / whole if part is not None and whole else None
