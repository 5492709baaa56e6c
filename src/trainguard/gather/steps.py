"""Watching the optimizer steps of a live run, without disturbing it.

Everything is computed out of place, on the tensors' own device, without random numbers. The
numbers of a step that live on an accelerator travel to the host as one small vector, by an
asynchronous copy that is read once it has arrived: watching never makes the host wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import hypot, isfinite
from typing import TYPE_CHECKING, Any

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.facts.steps import IDLE_STEPS, StepFacts
from trainguard.gather.ranks import WeightHashes, rank_comparison
from trainguard.gather.step_budget import Budget
from trainguard.gather.step_frozen import FrozenWeights
from trainguard.gather.step_numbers import Numbers, Transfer
from trainguard.gather.step_tensors import (
    detached,
    gradient,
    is_flat,
    is_integer_tensor,
    is_shard,
    norms,
    sample,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer

#: Steps whose numbers may be on their way from the device; the host is never so far ahead.
IN_FLIGHT = 32
MAX_NAMES = 20


class StepRecorder:
    """Collects the facts of each optimizer step of one model.

    The order of calls within a step: `micro_batch` for each, `gradients` after the last backward
    and before clipping, `clipping` if there is some, `about_to_update` after it, `updated` after
    the optimizer, `finish`. Steps come out of `finish` in order, on an accelerator possibly some
    steps later; `drain` waits for the rest.
    """

    def __init__(self, model: Module, overhead: float) -> None:
        """`overhead` is the share of a step's time that a close look may take."""
        self._named = list(model.named_parameters())
        self._is_flat = any(is_flat(p) for _, p in self._named)
        self._is_whole = not any(is_shard(p) for _, p in self._named)
        frozen = [(name, p) for name, p in self._named if not p.requires_grad]
        self._frozen = FrozenWeights([] if self._is_flat else frozen)
        self._budget = Budget(overhead)
        self._transfer = Transfer()
        self._clipping_tells = False
        self._flags: list[bool] = []
        self._trainable: list[tuple[str, Parameter]] = []
        self._trainable_names: list[str] = []
        self._idle: dict[str, int] = {}
        self._compare_ranks()
        self._pending: deque[_Pending] = deque()
        self._open = _OpenStep()

    def _compare_ranks(self) -> None:
        trainable = [(name, p) for name, p in self._named if p.requires_grad and p.numel()]
        self._hashes: WeightHashes | None = None
        self._ranks = None
        if self._is_whole and not self._is_flat:
            self._ranks = rank_comparison([name for name, _ in trainable])
        if self._ranks is not None:
            self._hashes = WeightHashes([p for _, p in trainable])
            self._ranks.publish(0, self._hashes.now().tolist())

    def micro_batch(self, loss: Any, inputs: Any) -> None:
        """Add one micro-batch: its loss as returned, and the labels of its inputs.

        Args:
            loss: scalar tensor or number, before any filter; None if it is not known.
            inputs: the batch; its `labels`, an integer tensor of any shape, are counted.
        """
        now = self._open
        if loss is not None:
            now.losses.append(detached(loss))
        labels = inputs.get("labels") if isinstance(inputs, Mapping) else None
        if labels is not None and is_integer_tensor(labels):
            now.tokens[now.batches] = (labels != IGNORED_LABEL).sum()
        now.batches += 1

    def model_loss(self, loss: Any) -> None:
        """Add the loss that the model itself returned in a forward pass of the next micro-batch.

        Args:
            loss: scalar tensor.
        """
        self._open.model_losses.append((self._open.batches, detached(loss)))

    def gradients(self, scale: Tensor | None = None) -> None:
        """Take the norm of every gradient, and on a close look samples, before clipping.

        The norms are left to `clipping` where it gave them all the last time. A second call within
        a step (after another micro-batch) replaces the first. Of a model in shards it is the local
        ones that are looked at, and of a flattened one nothing, for no parameter can be named.

        Args:
            scale: the factor of a gradient scaler, a device scalar; None if there is none.
        """
        if self._is_flat:
            return
        now = self._open
        with self._budget.always_spending():
            self._find_trainable()
            held = [
                (name, parameter, id(parameter.grad))
                for name, parameter in self._trainable
                if parameter.grad is not None and not parameter.grad.is_sparse
            ]
            now.trainable = self._trainable_names
            now.owners = {gradient_id: name for name, _, gradient_id in held}
            now.parameters = [parameter for _, parameter, _ in held]
            now.numbers.pop("norms", None)
            if not self._clipping_tells:
                self._take_norms(scale)
        if self._budget.allows:
            with self._budget.spending():
                now.received = sample([gradient(p) for p in now.parameters])
                now.weights = sample(now.parameters)

    def _find_trainable(self) -> None:
        """Parameters may be frozen and unfrozen while a run goes on."""
        flags = [parameter.requires_grad for _, parameter in self._named]
        if flags != self._flags:
            self._flags = flags
            self._trainable = [(name, p) for name, p in self._named if p.requires_grad]
            self._trainable_names = [name for name, _ in self._trainable]

    def clipping(self, tensors: Sequence[Tensor], each: Tensor) -> None:
        """Take the norms that clipping computes, if they are those of this model's gradients.

        Args:
            tensors: what is about to be clipped.
            each: their L2 norms, in the same order.
        """
        now = self._open
        if not now.parameters:
            return
        names = [now.owners.get(id(tensor), "") for tensor in tensors]
        self._clipping_tells = len(now.owners) == sum(map(bool, names))
        if self._clipping_tells and "norms" not in now.numbers:
            now.numbers["norms"] = each
            now.normed = names

    @property
    def is_abandoned(self) -> bool:
        """Whether the gradients of the step under way were dropped without an update."""
        held = self._open.parameters
        return bool(held) and held[0].grad is None

    def about_to_update(self, found_inf: Tensor | None = None) -> None:
        """Compare the sampled gradients with what they were after the backward pass.

        Clipping scales them, by nearly zero at worst; what sets them to zero is something else.

        Args:
            found_inf: what a gradient scaler tells a fused optimizer, which skips by itself: a
                device scalar that is not zero if it will.
        """
        import torch

        self._settle()
        now = self._open
        now.numbers["skips"] = found_inf
        if now.received is None:
            return
        with self._budget.spending():
            held = sample([gradient(parameter) for parameter in now.parameters])
            assert held is not None
            now.numbers |= {
                "zeroed": ((held == 0) & (now.received != 0)).sum(),
                "nonfinite_at_step": (~torch.isfinite(held)).sum(),
            }

    def updated(self) -> None:
        """Compare the sampled weights with what they were before the update."""
        now = self._open
        if self._hashes is not None:
            now.numbers["hashes"] = self._hashes.now()
        if now.weights is None or now.received is None:
            return
        with self._budget.spending():
            after = sample(now.parameters)
            assert after is not None
            received, changed = now.received != 0, after != now.weights
            now.numbers |= {
                "sampled": received.sum(),
                "moved": (changed & received).sum(),
                "drifted": (changed & ~received).sum(),
                "update": (after - now.weights).float().norm(),
                "weight": now.weights.float().norm(),
            }

    def so_far(self, step: int, rates: Sequence[float] | None) -> StepFacts:
        """The facts of the step that is under way; waits for its numbers to arrive.

        Args:
            step: optimizer step, from 1.
            rates: learning rate of each parameter group at this step.
        """
        pending = self._closed(step, rates, stepped=None)
        return pending.facts(pending.numbers.read())

    def finish(
        self, step: int, rates: Sequence[float] | None, stepped: bool | None
    ) -> list[StepFacts]:
        """Close the step and return the facts that have reached the host, in order.

        Args:
            step: optimizer step, from 1.
            rates: learning rate of each parameter group at this step.
            stepped: whether the optimizer ran; None if that was not observed.
        """
        if self._frozen.is_due(step):
            with self._budget.spending():
                self._open.numbers["frozen"] = self._frozen.changed()
                self._open.frozen = self._frozen.names
        with self._budget.always_spending():
            self._pending.append(self._closed(step, rates, stepped))
            self._open = _OpenStep()
            arrived = list(self._arrived())
        self._budget.step_ended(is_unusual=any(facts.is_unusual for facts in arrived))
        return arrived

    def drain(self) -> list[StepFacts]:
        """Wait for everything that is under way; for the end of the run."""
        return [self._read(self._pending.popleft()) for _ in range(len(self._pending))]

    def apart(self, *, last: bool = False) -> list[StepFacts]:
        """On rank zero, what the comparison with the other ranks says of steps that are over.

        Args:
            last: whether the run is, so that the others are given a moment.
        """
        if self._ranks is None:
            return []
        return self._ranks.drain() if last else list(self._ranks.arrived())

    def _read(self, pending: _Pending) -> StepFacts:
        values = pending.numbers.read()
        if self._ranks is not None and "hashes" in values:
            self._ranks.publish(pending.step, values["hashes"])
        return pending.facts(values, self._idle)

    def _settle(self) -> None:
        """Take the norms now where clipping, which told them before, did not do so this time."""
        now = self._open
        if now.trainable is None or "norms" in now.numbers:
            return
        self._clipping_tells = False
        if all(parameter.grad is not None for parameter in now.parameters):
            self._take_norms(None)
        else:
            now.trainable = None  # they are gone, and nobody knows what they were

    def _take_norms(self, scale: Tensor | None) -> None:
        now = self._open
        each = norms([gradient(parameter) for parameter in now.parameters])
        now.numbers["norms"] = each / scale if each is not None and scale is not None else each
        now.normed = list(now.owners.values())

    def _closed(self, step: int, rates: Sequence[float] | None, stepped: bool | None) -> _Pending:
        self._settle()
        now = self._open
        series = {
            "losses": now.losses,
            "tokens": list(now.tokens.values()),
            "model_losses": [loss for _, loss in now.model_losses],
        }
        return _Pending(
            step=step,
            rates=tuple(rates) if rates is not None else None,
            stepped=stepped,
            labelled=tuple(now.tokens),
            forwards=tuple(batch for batch, _ in now.model_losses),
            is_whole=self._is_whole,
            normed=now.normed,
            trainable=now.trainable,
            frozen=now.frozen,
            numbers=self._transfer.send({**series, **now.numbers}),
        )

    def _arrived(self) -> Iterator[StepFacts]:
        while self._pending and (self._pending[0].numbers.here() or len(self._pending) > IN_FLIGHT):
            yield self._read(self._pending.popleft())


def learning_rates(optimizer: Optimizer) -> tuple[float, ...] | None:
    """The rate of each group; None where one lives on a device and reading it would wait."""
    rates = [group.get("lr") for group in optimizer.param_groups]
    known = [float(rate) for rate in rates if isinstance(rate, int | float)]
    return tuple(known) if len(known) == len(rates) else None


def drop_gradients(optimizer: Optimizer) -> None:
    """Turn the optimizer's next step into none: it skips what has no gradient."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


@dataclass(slots=True)
class _OpenStep:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
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
    numbers: Numbers

    def facts(
        self, values: Mapping[str, list[float]], idle: dict[str, int] | None = None
    ) -> StepFacts:
        """The step as its numbers tell.

        Args:
            values: the numbers, by name.
            idle: for how many steps each parameter has had no gradient; is kept up to date.
        """
        own = [(n, x) for n, x in zip(self.normed, values.get("norms", []), strict=False) if n]
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
            update_ratio=_ratio(_first(values, "update"), _first(values, "weight")),
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


def _first(values: Mapping[str, list[float]], name: str) -> float | None:
    return float(values[name][0]) if values.get(name) else None


def _count(values: Mapping[str, list[float]], name: str) -> int | None:
    return int(values[name][0]) if values.get(name) else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    """None where the weights are all zero, as those of a fresh LoRA factor."""
    return part / whole if part is not None and whole else None
