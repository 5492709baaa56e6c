"""What PEFT makes of an adapter folder: it raises, it warns, or it says nothing; and the effect."""

from __future__ import annotations

import multiprocessing
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from .bases import TOKENS, Base

PATIENCE = 3
"""Seconds until a load that does not return is given up."""


@dataclass(frozen=True)
class Loading:
    """A load of an adapter on its base model."""

    logits: torch.Tensor | None
    """None if PEFT raised."""
    warned: frozenset[str]
    """The first words of each warning."""
    error: str = ""
    """Name of the exception."""


def load(folder: Path, base: Base) -> Loading:
    """Load with `PeftModel.from_pretrained` and answer the base's own batch."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = PeftModel.from_pretrained(base(), folder).eval()
            logits = answer(model, base)
        # The witness may fail with whatever it likes; its name is the result.
        except Exception as error:
            return Loading(None, frozenset(), type(error).__name__)
    return Loading(logits, frozenset(str(warning.message)[:24] for warning in caught))


def answer(model: Any, base: Base) -> torch.Tensor:
    """Logits of the base's batch, without those of a learned prompt before it."""
    with torch.no_grad():
        return model(**base.batch).logits[:, -TOKENS.shape[1] :]


def outcome(folder: Path, healthy: Loading, base: Base) -> str:
    """ "raises KeyError", or how PEFT speaks and what the model then does: "silent, no-op"."""
    loading = load(folder, base)
    if loading.logits is None:
        return f"raises {loading.error}"
    manner = "warns" if loading.warned - healthy.warned else "silent"
    return f"{manner}, {effect(loading.logits, healthy, base)}"


def effect(logits: torch.Tensor, healthy: Loading, base: Base) -> str:
    """What became of the training: "NaN", "no-op", "works" or "changed"."""
    if not logits.isfinite().all():
        return "NaN"
    if torch.equal(logits, answer(base(), base)):
        return "no-op"
    is_whole = healthy.logits is not None and torch.allclose(logits, healthy.logits, atol=1e-6)
    return "works" if is_whole else "changed"


def outcome_in_time(folder: Path, healthy: Loading, base: Base) -> str:
    """The outcome, or "hangs" if PEFT does not come back; it then cannot be interrupted."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(outcome(folder, healthy, base)))
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        return "hangs"
    return str(queue.get())
