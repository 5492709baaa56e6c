"""Watching adds no read of a tensor's value by the host, which on a device would be a wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paired_runs import RUNS

#: What the host cannot be given without waiting for the device.
READS = ("_local_scalar_dense", "equal", "nonzero", "masked_select")


class HostReads(TorchDispatchMode):
    """Counts them, wherever in torch they come from."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in READS:
            self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def reads(name: str, folder: Path, *, watched: bool) -> dict[str, int]:
    with HostReads() as mode:
        RUNS[name](folder, watched)
    return mode.counts


@pytest.mark.parametrize(
    "name",
    ["Trainer full", "Trainer LoRA accumulated", "SFT LoRA", "DPO LoRA", "GRPO full", "loop full"],
)
def test_a_watched_run_reads_no_more_than_a_plain_one(name: str, tmp_path: Path) -> None:
    plain = reads(name, tmp_path / "plain", watched=False)
    watched = reads(name, tmp_path / "watched", watched=True)

    assert watched == plain
    assert plain["_local_scalar_dense"] > 0


@pytest.mark.parametrize(
    "read",
    [
        lambda tensor: tensor.sum().item(),
        lambda tensor: bool((tensor > 0).all()),
        lambda tensor: torch.equal(tensor, tensor),
        lambda tensor: tensor.nonzero(),
        lambda tensor: tensor.masked_select(tensor > 0),
    ],
)
def test_every_kind_of_read_is_counted(read: Any) -> None:
    with HostReads() as mode:
        read(torch.ones(3))

    assert sum(mode.counts.values()) > 0
