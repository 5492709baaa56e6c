"""Watching the optimizer steps of a live run, without disturbing it.

Everything is computed out of place, on the tensors' own device, without random numbers. The
numbers of a step that live on an accelerator travel to the host as one small vector, by an
asynchronous copy that is read once it has arrived: watching never makes the host wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, hypot, isfinite
from typing import TYPE_CHECKING, Any

from trainguard.facts.steps import StepFacts

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer

IGNORED_LABEL = -100
#: Elements of each parameter that are compared before and after an update; whether a tensor moves
#: at all needs no more.
SAMPLE = 64
#: Steps at the start of a run that are looked at closely whatever it costs.
CLOSE_AT_FIRST = 8
#: Steps whose numbers may be on their way from the device; the host is never so far ahead.
IN_FLIGHT = 32
MAX_NAMES = 20


class StepRecorder:
    """Collects the facts of each optimizer step of one model.

    The order of calls within a step: `micro_batch` for each, `gradients` after the last backward
    and before clipping, `about_to_update` after it, `updated` after the optimizer, `finish`. Steps
    come out of `finish` in order, on an accelerator possibly some steps later; `drain` waits for
    the rest.
    """

    def __init__(self, model: Module, overhead: float) -> None:
        """`overhead` is the share of a step's time that a close look may take."""
        self._named = list(model.named_parameters())
        self._sharded = any(_is_sharded(p) for _, p in self._named)
        self._budget = _Budget(overhead)
        self._transfer = _Transfer()
        self._pending: deque[_Pending] = deque()
        self._open = _OpenStep()

    def micro_batch(self, loss: Any, inputs: Any) -> None:
        """Add one micro-batch: its loss as returned, and the labels of its inputs.

        Args:
            loss: scalar tensor or number, before any filter; None if it is not known.
            inputs: the batch; its `labels`, an integer tensor of any shape, are counted.
        """
        if loss is not None:
            self._open.add("loss", _detached(loss))
        labels = inputs.get("labels") if isinstance(inputs, Mapping) else None
        if labels is not None and _is_integer_tensor(labels):
            self._open.add("tokens", (labels != IGNORED_LABEL).sum())

    def gradients(self, scale: Tensor | None = None) -> None:
        """Take the norm of every gradient, and on a close look samples, before clipping.

        A second call within a step (after another micro-batch) replaces the first. Of a sharded
        model nothing is taken: what one rank holds says nothing about a tensor.

        Args:
            scale: the factor of a gradient scaler, a device scalar; None if there is none.
        """
        if self._sharded:
            return
        trainable = [(name, p) for name, p in self._named if p.requires_grad]
        held = [
            (name, p, p.grad)
            for name, p in trainable
            if p.grad is not None and not p.grad.is_sparse
        ]
        norms = _norms([gradient for _, _, gradient in held])
        scaled = norms is not None and scale is not None
        now = self._open
        now.numbers["norms"] = norms / scale if scaled else norms  # type: ignore[operator]
        now.trainable = len(trainable)
        now.names = [name for name, _, _ in held]
        now.parameters = [p for _, p, _ in held]
        if self._budget.allows:
            with self._budget.spending():
                now.received = _sample([gradient for _, _, gradient in held])
                now.weights = _sample(now.parameters)

    def model_loss(self, loss: Any) -> None:
        """Add the loss that the model itself returned in a forward pass."""
        self._open.add("model_loss", _detached(loss))

    def about_to_update(self) -> None:
        """Compare the sampled gradients with what they were after the backward pass.

        Clipping scales them, by nearly zero at worst; what sets them to zero is something else.
        """
        import torch

        now = self._open
        if now.received is None:
            return
        with self._budget.spending():
            held = _sample([_gradient(parameter) for parameter in now.parameters])
            assert held is not None
            now.numbers |= {
                "zeroed": ((held == 0) & (now.received != 0)).sum(),
                "nonfinite_at_step": (~torch.isfinite(held)).sum(),
            }

    def updated(self) -> None:
        """Compare the sampled weights with what they were before the update."""
        now = self._open
        if now.weights is None or now.received is None:
            return
        with self._budget.spending():
            after = _sample(now.parameters)
            assert after is not None
            received = now.received != 0
            now.numbers |= {
                "sampled": received.sum(),
                "moved": ((after != now.weights) & received).sum(),
                "update": (after - now.weights).float().norm(),
                "weight": now.weights.float().norm(),
            }

    def so_far(self, step: int, rates: Sequence[float] | None) -> StepFacts:
        """The facts of the step that is under way; waits for its numbers to arrive.

        Args:
            step: optimizer step, from 1.
            rates: learning rate of each parameter group at this step.
        """
        return self._closed(step, rates, stepped=None).facts()

    def finish(
        self, step: int, rates: Sequence[float] | None, stepped: bool | None
    ) -> list[StepFacts]:
        """Close the step and return the facts that have reached the host, in order.

        Args:
            step: optimizer step, from 1.
            rates: learning rate of each parameter group at this step.
            stepped: whether the optimizer ran; None if that was not observed.
        """
        self._pending.append(self._closed(step, rates, stepped))
        self._open = _OpenStep()
        arrived = list(self._arrived())
        self._budget.step_ended(look_again=any(facts.is_unusual for facts in arrived))
        return arrived

    def drain(self) -> list[StepFacts]:
        """Wait for everything that is under way; for the end of the run."""
        return [self._pending.popleft().facts() for _ in range(len(self._pending))]

    def _closed(self, step: int, rates: Sequence[float] | None, stepped: bool | None) -> _Pending:
        return _Pending(
            step=step,
            rates=tuple(rates) if rates is not None else None,
            stepped=stepped,
            names=self._open.names,
            trainable=self._open.trainable,
            numbers=self._transfer.send(self._open.numbers),
        )

    def _arrived(self) -> Iterator[StepFacts]:
        while self._pending and (self._pending[0].numbers.here() or len(self._pending) > IN_FLIGHT):
            yield self._pending.popleft().facts()


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


class _Budget:
    """Says at which steps there is time for a close look, from what the last ones took."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._steps = 0
        self._next = 0
        self._spent = 0.0
        self._step_began = time.perf_counter()

    @property
    def allows(self) -> bool:
        """Whether the step that is under way is looked at closely."""
        return self._steps >= self._next

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Around what belongs to a close look."""
        began = time.perf_counter()
        yield
        self._spent += time.perf_counter() - began

    def step_ended(self, *, look_again: bool) -> None:
        """Plan the next close look: soon after something unusual, else as the budget allows."""
        now = time.perf_counter()
        self._steps += 1
        if self._spent:
            duration = now - self._step_began - self._spent
            pause = self._spent / (self._share * duration) if duration > 0 else 1
            self._next = self._steps + (ceil(pause) - 1 if self._steps >= CLOSE_AT_FIRST else 0)
        if look_again:
            self._next = self._steps
        self._spent, self._step_began = 0.0, now


@dataclass(slots=True)
class _OpenStep:
    """What is known of the step that is under way; tensors stay on their device."""

    numbers: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    """Parameters that hold a gradient, in the order of the norms."""
    parameters: list[Parameter] = field(default_factory=list)
    trainable: int | None = None
    received: Tensor | None = None
    weights: Tensor | None = None

    def add(self, name: str, value: Any) -> None:
        total = self.numbers.get(name)
        self.numbers[name] = value if total is None else total + value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A step whose numbers may still be on their way to the host."""

    step: int
    rates: tuple[float, ...] | None
    stepped: bool | None
    names: list[str]
    trainable: int | None
    numbers: _Numbers

    def facts(self) -> StepFacts:
        values = self.numbers.read()
        norms = values.get("norms", [])
        seen = self.trainable is not None
        bad = [name for name, norm in zip(self.names, norms, strict=False) if not isfinite(norm)]
        return StepFacts(
            step=self.step,
            loss=_first(values, "loss"),
            model_loss=_first(values, "model_loss"),
            grad_norm=hypot(*norms) if seen else None,
            learning_rates=self.rates,
            supervised_tokens=_count(values, "tokens"),
            gradients=self.trainable,
            zero_gradients=(self.trainable or 0) - sum(n != 0.0 for n in norms) if seen else None,
            nonfinite_gradients=tuple(bad[:MAX_NAMES]),
            nonfinite_tensors=len(bad) if seen else None,
            stepped=self.stepped,
            sampled=_count(values, "sampled"),
            moved=_count(values, "moved"),
            update_ratio=_ratio(_first(values, "update"), _first(values, "weight")),
            zeroed=_count(values, "zeroed"),
            nonfinite_at_step=_count(values, "nonfinite_at_step"),
        )


@dataclass(slots=True)
class _Numbers:
    """The numbers of one step: those on the host at once, the others when they arrive."""

    host: dict[str, list[float]]
    layout: dict[str, int]
    buffer: Tensor | None = None
    arrival: Any = None
    transfer: _Transfer | None = None

    def here(self) -> bool:
        return self.arrival is None or bool(self.arrival.query())

    def read(self) -> dict[str, list[float]]:
        if self.buffer is None:
            return self.host
        self.arrival.synchronize()
        values = self.buffer.tolist()
        if self.transfer is not None:
            self.transfer.give_back(self.buffer)
        return self.host | dict(_cut(values, self.layout))


class _Transfer:
    """Sends numbers from a device to page-locked buffers that are used again and again.

    A fresh page-locked allocation, or a copy to ordinary memory, would wait for the device.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def send(self, numbers: Mapping[str, Any]) -> _Numbers:
        """Start the copy.

        Args:
            numbers: by name, a number, a tensor of at most one dimension, or None.
        """
        import torch

        host: dict[str, list[float]] = {}
        parts: dict[str, Tensor] = {}
        for name, value in numbers.items():
            if isinstance(value, torch.Tensor) and value.device.type != "cpu":
                parts[name] = value.reshape(-1).to(torch.float32)
            elif isinstance(value, torch.Tensor):
                host[name] = value.reshape(-1).tolist()
            elif value is not None:
                host[name] = [value]
        layout = {name: part.numel() for name, part in parts.items()}
        if not parts:
            return _Numbers(host, layout)
        home = next(iter(parts.values())).device
        vector = torch.cat([part.to(home, non_blocking=True) for part in parts.values()])
        buffer = self._buffer(vector.numel())
        buffer[: vector.numel()].copy_(vector, non_blocking=True)
        arrival = getattr(torch, home.type).Event()
        arrival.record()
        return _Numbers(host, layout, buffer, arrival, self)

    def give_back(self, buffer: Tensor) -> None:
        """Make a buffer that has been read available again."""
        self._free.append(buffer)

    def _buffer(self, size: int) -> Tensor:
        import torch

        if self._free and self._free[-1].numel() >= size:
            return self._free.pop()
        self._free.clear()
        return torch.empty(size, dtype=torch.float32, pin_memory=True)


def _cut(values: list[float], layout: Mapping[str, int]) -> Iterator[tuple[str, list[float]]]:
    start = 0
    for name, size in layout.items():
        yield name, values[start : start + size]
        start += size


def _first(values: Mapping[str, list[float]], name: str) -> float | None:
    return float(values[name][0]) if values.get(name) else None


def _count(values: Mapping[str, list[float]], name: str) -> int | None:
    return int(values[name][0]) if values.get(name) else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    """None where the weights are all zero, as those of a fresh LoRA factor."""
    return part / whole if part is not None and whole else None


def _is_sharded(parameter: Tensor) -> bool:
    """Whether this is a shard: a DTensor, a flat parameter of FSDP, a parameter of ZeRO-3."""
    return any(hasattr(parameter, mark) for mark in ("to_local", "_is_flat_param", "ds_id"))


def _detached(loss: Any) -> Any:
    import torch

    return loss.detach().float().sum() if isinstance(loss, torch.Tensor) else float(loss)


def _is_integer_tensor(labels: Any) -> bool:
    import torch

    return isinstance(labels, torch.Tensor) and labels.dtype in {torch.int64, torch.int32}


def _norms(gradients: list[Tensor]) -> Tensor | None:
    """L2 norm of each gradient, in float32 or better (float16 would overflow above 65504).

    The norm is NaN or infinite exactly if an element is, up to overflow above 1.8e19, and zero
    exactly if all are, down to underflow of their squares below 1e-22.
    """
    import torch

    if not gradients:
        return None
    wide = any(gradient.dtype == torch.float64 for gradient in gradients)
    dtype = torch.float64 if wide else torch.float32
    home = gradients[0].device
    with torch.no_grad():
        norms = torch._foreach_norm(gradients, 2, dtype=dtype)
        if any(norm.device != home for norm in norms):
            norms = tuple(norm.to(home, non_blocking=True) for norm in norms)
        return torch.stack(norms)


def _sample(tensors: Sequence[Tensor]) -> Tensor | None:
    """The first elements of each tensor, in one vector of its own storage."""
    import torch

    if not tensors:
        return None
    home = tensors[0].device
    with torch.no_grad():
        heads = [_head(tensor) for tensor in tensors]
        if any(head.device != home for head in heads):
            heads = [head.to(home, non_blocking=True) for head in heads]
        return torch.cat(heads)


def _gradient(parameter: Tensor) -> Tensor:
    """What the optimizer goes by; a gradient that was taken away counts as zero."""
    if parameter.grad is not None:
        return parameter.grad
    return parameter.new_zeros(min(parameter.numel(), SAMPLE))


def _head(tensor: Tensor) -> Tensor:
    """The first elements by index, wherever they lie."""
    count = min(tensor.numel(), SAMPLE)
    if tensor.is_contiguous():
        # One call: this runs four times a step for each tensor.
        return tensor.as_strided((count,), (1,))
    while tensor.dim() > 1 and tensor[0].numel() >= count:
        tensor = tensor[0]
    rows = count if tensor.dim() == 1 else ceil(count / tensor[0].numel())
    return tensor[:rows].reshape(-1)[:count]
