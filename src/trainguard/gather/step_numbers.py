"""Numbers of a step on their way to the host: never waited for, read once they have arrived."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Numbers:
    """The numbers of one step: those on the host at once, the others when they arrive."""

    host: dict[str, list[float]]
    layout: dict[str, int]
    buffer: Tensor | None = None
    arrival: Any = None
    transfer: Transfer | None = None

    def here(self) -> bool:
        """Whether reading would not wait."""
        return self.arrival is None or bool(self.arrival.query())

    def read(self) -> dict[str, list[float]]:
        """All numbers, by name; waits for those that are under way. To be called once."""
        if self.buffer is None:
            return self.host
        self.arrival.synchronize()
        values = self.buffer.tolist()
        if self.transfer is not None:
            self.transfer.give_back(self.buffer)
        both = {name: list(series) for name, series in self.host.items()}
        for name, series in _cut(values, self.layout):
            both.setdefault(name, []).extend(series)
        return both


class Transfer:
    """Sends numbers from a device to page-locked buffers that are used again and again.

    A fresh page-locked allocation, or a copy to ordinary memory, would wait for the device.
    """

    def __init__(self) -> None:
        self._free: list[Tensor] = []

    def send(self, numbers: Mapping[str, Any]) -> Numbers:
        """Start the copy.

        Args:
            numbers: by name, a tensor of at most one dimension, a list of numbers and scalar
                tensors, or None.
        """
        import torch

        host: dict[str, list[float]] = {}
        parts: list[tuple[str, Tensor]] = []
        for name, series in numbers.items():
            for value in series if isinstance(series, list) else [series]:
                if isinstance(value, torch.Tensor) and value.device.type != "cpu":
                    parts.append((name, value.reshape(-1)))
                elif isinstance(value, torch.Tensor):
                    host.setdefault(name, []).extend(value.reshape(-1).tolist())
                elif value is not None:
                    host.setdefault(name, []).append(value)
        layout: dict[str, int] = {}
        for name, part in parts:
            layout[name] = layout.get(name, 0) + part.numel()
        if not parts:
            return Numbers(host, layout)
        home = parts[0][1].device
        vector = torch.cat([part.to(home, torch.float32, non_blocking=True) for _, part in parts])
        buffer = self._buffer(vector.numel())
        buffer[: vector.numel()].copy_(vector, non_blocking=True)
        arrival = getattr(torch, home.type).Event()
        arrival.record()
        return Numbers(host, layout, buffer, arrival, self)

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
