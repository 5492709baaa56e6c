"""What a run of the reference trainer is to do, without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TINY = "tiny"


@dataclass(frozen=True)
class Plan:
    """What a run is to do; the defaults suit the tiny model."""

    method: Literal["sft", "rft", "grpo"] = "sft"
    model: str = TINY
    """A hub name, a local folder, or "tiny" for the embedded model."""
    adapter: str = ""
    """An adapter to go on with, such as the folder of an earlier run."""
    sampler: str = ""
    """The model that is sampled (rft); the model itself if left out."""
    data: str = ""
    """A folder of questions; written into the run's own folder if left out."""
    train: int = 2000
    valid: int = 100
    test: int = 300
    steps: int = 400
    learning_rate: float | None = None
    """What suits model and method if left out."""
    batch_size: int = 32
    rank: int = 16
    """The rank of a new adapter, or the largest below it that fits into `megabytes`."""
    megabytes: float = 100.0
    gradient_checkpointing: bool = False
    save_steps: int = 100
    samples: int = 12
    temperature: float = 0.8
    max_new_tokens: int = 64
    seed: int = 0
    fault: str = ""
    """A key of `FAULTS` to plant."""
