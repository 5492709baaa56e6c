"""The reference's embedded model, far from converged, pre-trained once for all tests of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Enough to learn some dozen answers by heart within a minute, and not enough to calculate.
STEPS = 250


def shared_cache(factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of pytest-xdist share; pre-training in it is under a lock."""
    return factory.getbasetemp().parent / "trainguard-bases"
