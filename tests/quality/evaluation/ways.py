"""One row of the matrix: the score as the benchmark prints it, and what the audit says."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from quality.faked_scores import Told, told, untrained
from trainguard.reference.benchmark import LLM

from .fakes import Fake


def faked(original: LLM, fake: Fake, folder: Path) -> Told:
    """The fake on a fresh copy; what it did to modules is undone."""
    with pytest.MonkeyPatch.context() as patch:
        base = copied(original) if fake.trained else untrained(original)
        return told(fake.make(base, folder, patch))


def asked_honestly(original: LLM, change: Callable[[LLM], Any]) -> Told:
    """The set-up on a fresh copy, without what others have left in the process."""
    torch._dynamo.reset()
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        return told(change(copied(original)))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def copied(original: LLM) -> LLM:
    """The same, with a model of its own."""
    return LLM(deepcopy(original.model), original.tokenizer)
