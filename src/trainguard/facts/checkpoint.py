"""What the checkpoints of one Trainer run hold on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from trainguard.findings import Location

if TYPE_CHECKING:
    from trainguard.facts.notation import Line

OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
RANDOM_STATE = "rng_state"
"""Beginning of the name: `rng_state.pth`, or `rng_state_0.pth` of each process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """One `checkpoint-N` folder. None means that the file or the field is missing or unreadable."""

    WANTED: ClassVar[str] = "the checkpoints of a training run"

    folder: str
    """As the user named it or the run it is in."""
    run: str = ""
    """Absolute path of the run's folder."""
    number: int | None = None
    """Step that the folder's name states."""
    global_step: int | None = None
    """Step that `trainer_state.json` states; None also while the checkpoint is being written."""
    max_steps: int | None = None
    best_model_checkpoint: str | None = None
    """Path of the best checkpoint as it was recorded; may be relative to any folder."""
    best_exists: bool = False
    """Whether that path, or a folder of its name beside this checkpoint, is there now."""
    best_metric: float | None = None
    files: Mapping[str, int] = field(default_factory=dict)
    """Sizes in bytes by name; a folder's size is 0."""
    sharded_state: bool = False
    """Whether DeepSpeed or FSDP wrote it: their state lies in files of their own."""
    weights: str | None = None
    """Equal for two checkpoints of a run exactly if their stored weights are the same bytes."""
    weight_bytes: int = 0
    """Bytes in the weight files, adapters of sub-folders included."""
    adapter_in_model: bool = False
    """Whether `model.safetensors` holds an adapter's tensors under the names of a PeftModel."""
    optimizer_is_empty: bool | None = None
    """Whether no parameter group of `optimizer.pt` holds a parameter."""
    optimizer_nonfinite: Mapping[str, int] | None = None
    """NaN or infinite elements in `optimizer.pt` by tensor (`0.exp_avg`, of the first parameter),
    without those that have none; None if the values were not read, as of all but the last
    checkpoint."""

    @property
    def name(self) -> str:
        """The folder's own name, also where the user named it `.`."""
        own = PurePath(self.folder).name
        return own if own or self.number is None else f"checkpoint-{self.number}"

    def has(self, start: str) -> bool:
        """Whether there is a file or folder whose name begins like this."""
        return any(name.startswith(start) for name in self.files)

    def location(self, key: str, value: object = None) -> Location:
        """A file or field of this checkpoint."""
        return Location(path=self.folder, key=key, value=None if value is None else str(value))


def finished(checkpoints: Sequence[CheckpointFacts]) -> list[CheckpointFacts]:
    """Those that are wholly written, by step: the Trainer writes `trainer_state.json` last."""
    done = [one for one in checkpoints if one.global_step]
    return sorted(done, key=lambda one: (one.number or one.global_step or 0, one.folder))


def from_notation(lines: Sequence[Line]) -> dict[type, Any]:
    """`checkpoint-100 global_step=100 weights=a1 optimizer.pt=15895 ...`, one a line.

    A field with a point or a slash in its name is a file and its size.
    """
    return {CheckpointFacts: tuple(_checkpoints(lines))}


def _checkpoints(lines: Sequence[Line]) -> Iterator[CheckpointFacts]:
    for line in lines:
        number = line.word.rpartition("-")[2]
        values = {key: value for key, value in line.fields.items() if "." not in key}
        if "weights" in values:
            values["weights"] = str(values["weights"])
        yield CheckpointFacts(
            folder=line.word,
            number=int(number) if number.isdigit() else None,
            files={key: size for key, size in line.fields.items() if "." in key},
            **values,
        )
