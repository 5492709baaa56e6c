"""Whether the ranks of a data-parallel run hold the same weights, step by step.

Each rank puts a hash of every trained tensor into the key-value store over which the processes
found each other, and rank zero compares what has arrived. No collective operation is involved: a
rank that stops watching leaves nobody waiting.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from trainguard.facts.steps import StepFacts
from trainguard.gather.step_tensors import SAMPLE, sample

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

#: Bits of a tensor's hash: as many as a float32 holds exactly, for that is how numbers travel.
HASH_BITS = 24
#: Any large odd number; it spreads the bits of each element over the hash.
MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)
#: Steps of which the store keeps the hashes; a later one takes the place of the one so many before.
KEPT = 64
#: Seconds that rank zero waits at the end of a run for what others still have to say.
PATIENCE = 2.0
MAX_NAMES = 20

#: The runs of this process, the same on every rank: what one leaves in the store is no other's.
_runs = count()


class WeightHashes:
    """A hash of a sample of each tensor, equal exactly if the sample is, but for one in 2^24.

    Args:
        parameters: in the same order on every rank.
    """

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        import torch

        self._parameters = parameters
        home = parameters[0].device
        sizes = torch.tensor([min(p.numel(), SAMPLE) for p in parameters], device="cpu")
        self._ends = (sizes.cumsum(0) - 1).to(home)
        odd = torch.arange(int(sizes.sum()), device="cpu") * 2 + 1
        self._factors = (odd * MULTIPLIER).to(home)

    def now(self) -> Tensor:
        """A vector of whole numbers below 2^24, as float32, on the parameters' device."""
        import torch

        values = sample(self._parameters)
        assert values is not None
        with torch.no_grad():
            bits = values.to(torch.float64).view(torch.int64)
            sums = ((bits ^ (bits >> 32)) * self._factors).cumsum(0)
            ends = sums.index_select(0, self._ends)
            each = torch.cat([ends[:1], ends[1:] - ends[:-1]])
            return ((each >> 20) & ((1 << HASH_BITS) - 1)).to(torch.float32)


class RankComparison:
    """What each rank publishes of its steps, and what rank zero finds.

    Args:
        store: torch's key-value store of the process group.
        rank, ranks: of this process, and how many there are.
        names: of the tensors, in the order of their hashes.
    """

    def __init__(self, store: Any, rank: int, ranks: int, names: Sequence[str]) -> None:
        self._store = store
        self._rank = rank
        self._ranks = ranks
        self._names = names
        self._own: dict[int, list[int]] = {}
        self._are_replicas: bool | None = None

    def publish(self, step: int, hashes: Iterable[float]) -> None:
        """Say what this rank holds after a step; 0 stands for before the first."""
        whole = [int(number) for number in hashes]
        if self._rank != 0:
            self._store.set(_key(step, self._rank), json.dumps([step, *whole]))
            return
        self._own[step] = whole
        self._own.pop(step - KEPT, None)  # of which the others have not spoken, nor will

    def arrived(self) -> Iterator[StepFacts]:
        """On rank zero, the steps of which every rank has spoken, in order."""
        others = range(1, self._ranks)
        for step in sorted(self._own):
            keys = [_key(step, rank) for rank in others]
            if not self._store.check(keys):
                return
            said = [json.loads(self._store.get(key)) for key in keys]
            if any(at < step for at, *_ in said):
                return
            own = self._own.pop(step)
            if any(at > step for at, *_ in said):
                continue
            others_hashes = [hashes for _, *hashes in said]
            apart = [
                name
                for name, mine, *theirs in zip(self._names, own, *others_hashes, strict=False)
                if any(other != mine for other in theirs)
            ]
            if self._are_replicas is None:
                # The ranks of a pipeline hold different parts of one model.
                has_all = all(len(hashes) == len(own) for hashes in others_hashes)
                self._are_replicas = has_all and not apart
            elif self._are_replicas:
                yield StepFacts(
                    step=step,
                    ranks=self._ranks,
                    ranks_apart=tuple(apart[:MAX_NAMES]),
                    ranks_apart_tensors=len(apart),
                )

    def drain(self) -> list[StepFacts]:
        """The same for the end of the run: the others are given a moment to arrive."""
        found = list(self.arrived())
        deadline = time.monotonic() + PATIENCE
        while self._own and time.monotonic() < deadline:
            time.sleep(PATIENCE / 100)
            found += self.arrived()
        return found


def rank_comparison(names: Sequence[str]) -> RankComparison | None:
    """The comparison of this process group; None for a process alone, or without a store."""
    import torch.distributed as dist

    if not names or not dist.is_available() or not dist.is_initialized():
        return None
    find = getattr(dist.distributed_c10d, "_get_default_store", None)
    if dist.get_world_size() < 2 or find is None:
        return None
    store = dist.PrefixStore(f"trainguard {next(_runs)}", find())
    return RankComparison(store, dist.get_rank(), dist.get_world_size(), names)


def _key(step: int, rank: int) -> str:
    return f"{step % KEPT}/{rank}"
