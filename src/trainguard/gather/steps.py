"""Watching the optimizer steps of a live run, without disturbing it.

Everything is computed out of place, on the tensors' own device, without random numbers. The
numbers of a step that live on an accelerator travel to the host as one small vector, by an
asynchronous copy that is read once it has arrived: watching never makes the host wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainguard.facts.labels import IGNORED_LABEL
from trainguard.facts.layers import LayerStep
from trainguard.facts.steps import StepFacts
from trainguard.gather.ranks import WeightHashes, rank_comparison
from trainguard.gather.step_budget import Budget
from trainguard.gather.step_frozen import FrozenWeights
from trainguard.gather.step_layers import Layers
from trainguard.gather.step_numbers import Transfer
from trainguard.gather.step_tensors import (
    detached,
    gradient,
    is_flat,
    is_integer_tensor,
    is_shard,
    norms,
    sample,
    stretch_norms,
)
from trainguard.gather.step_under_way import OpenStep, PendingStep

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer

#: Steps whose numbers may be on their way from the device; the host is never so far ahead.
IN_FLIGHT = 32


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
        self._layers = Layers()
        self._compare_ranks()
        self._pending: deque[PendingStep] = deque()
        self._open = OpenStep()

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
                if self._layers.are_due:
                    now.cut = self._layers.stretches(list(now.owners.values()), now.parameters)

    def _find_trainable(self) -> None:
        """Parameters may be frozen and unfrozen while a run goes on."""
        flags = [parameter.requires_grad for _, parameter in self._named]
        if flags != self._flags:
            self._flags = flags
            self._trainable = [(name, p) for name, p in self._named if p.requires_grad]
            self._trainable_names = [name for name, _ in self._trainable]
            self._layers.find(self._trainable_names)

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
            }
            update = after - now.weights
            if now.cut is None:
                now.numbers |= {
                    "update": update.float().norm(),
                    "weight": now.weights.float().norm(),
                }
            else:
                kinds = ("update", "weight", "reached")
                each = stretch_norms((update, now.weights, now.received), now.cut.sizes)
                now.numbers |= dict(zip(kinds, each, strict=True))

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
            self._layers.step_ended(seen=self._open.cut is not None)
            self._open = OpenStep()
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

    def layers(self) -> list[LayerStep]:
        """Of steps that came out since the last call, what was seen layer by layer."""
        return self._layers.taken()

    def _read(self, pending: PendingStep) -> StepFacts:
        values = pending.numbers.read()
        if self._ranks is not None and "hashes" in values:
            self._ranks.publish(pending.step, values["hashes"])
        facts = pending.facts(values, self._idle)
        # Norms of shards add up to none of a layer.
        if self._is_whole and self._layers.want(pending, is_unusual=facts.is_unusual):
            self._layers.keep(pending, values)
        return facts

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

    def _closed(
        self, step: int, rates: Sequence[float] | None, stepped: bool | None
    ) -> PendingStep:
        self._settle()
        now = self._open
        series = {
            "losses": now.losses,
            "tokens": list(now.tokens.values()),
            "model_losses": [loss for _, loss in now.model_losses],
        }
        return PendingStep(
            step=step,
            rates=tuple(rates) if rates is not None else None,
            stepped=stepped,
            labelled=tuple(now.tokens),
            forwards=tuple(batch for batch, _ in now.model_losses),
            is_whole=self._is_whole,
            normed=now.normed,
            trainable=now.trainable,
            frozen=now.frozen,
            cut=now.cut,
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
