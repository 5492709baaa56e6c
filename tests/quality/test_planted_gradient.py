"""One element of one gradient that is not finite: named at its step, with its parameter."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from quality.live.faults import ONSET, culprit, planted
from quality.live.models import llama
from quality.live.ways import WAYS, Change


@pytest.mark.parametrize("limit", [1.0, 0.0], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("value", [math.nan, math.inf], ids=["NaN", "Inf"])
@pytest.mark.parametrize("way", ["Trainer Llama", "SFT Llama", "loop Llama"])
def test_a_planted_element_is_named(way: str, value: float, limit: float, tmp_path: Path) -> None:
    name, _ = culprit(llama())
    report = WAYS[way](tmp_path, Change(model=planted(value), max_grad_norm=limit))
    (cause,) = report.causes

    assert (cause.code, cause.location.step) == ("TG401", ONSET)
    assert name in cause.message
    assert cause.evidence["parameters"] == [name]
