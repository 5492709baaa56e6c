"""Input number N: a valid one, what was done to it, and how it is to be checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from .mutations import Change, damage, files_of

BASE = "base"
"""Folder in a valid input that holds the base model of the adapters beside it."""

_PURPOSES = (None, "train", "infer")
_TARGETS = (None, None, "peft", "transformers", "vllm", "llamacpp", "sglang")


@dataclass(frozen=True, slots=True)
class Input:
    """One damaged input on disk."""

    name: str
    """Of the valid input that it was made from."""
    folder: Path
    changes: tuple[Change, ...]
    options: Mapping[str, Any]
    """Of `trainguard.integrations.files.check`."""

    @property
    def expected(self) -> frozenset[str]:
        """Codes of which the report must have one; a second change may hide the first."""
        return self.changes[0].expected if len(self.changes) == 1 else frozenset()


class Inputs:
    """Makes inputs from valid ones; the seed and the number decide everything."""

    def __init__(self, valid: Path, seed: int) -> None:
        self.seed = seed
        self._valid = sorted(valid.iterdir())
        self._donors = [path.read_bytes() for folder in self._valid for path in files_of(folder)]

    def make(self, number: int, folder: Path) -> Input:
        """Write one input; the folder must not exist."""
        random = Random(f"{self.seed}/{number}")
        chosen = random.choice(self._valid)
        shutil.copytree(chosen, folder, copy_function=os.link)
        times = 1 if random.random() < 0.6 else random.randint(2, 5)
        changes = tuple(
            damage(folder, random, random.choice(self._donors))
            for _ in range(times)
            if files_of(folder)
        )
        options = {"purpose": random.choice(_PURPOSES), "target": random.choice(_TARGETS)}
        if (folder / BASE).is_dir() and random.random() < 0.5:
            options["base"] = str(folder / BASE)
        return Input(chosen.name, folder, changes, options)
