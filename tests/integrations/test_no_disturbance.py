"""With and without trainguard, a run is the same to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from paired_runs import RUNS


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        # Bits, not values: a NaN equals itself here and -0.0 differs from 0.0.
        left, right = left.contiguous(), right.contiguous()
        as_bytes = [
            tensor.reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in (left, right)
        ]
        return left.dtype == right.dtype and as_bytes[0] == as_bytes[1]
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))


@pytest.mark.parametrize("name", RUNS)
def test_a_watched_run_is_bit_identical(name: str, tmp_path: Path) -> None:
    plain = RUNS[name](tmp_path / "plain", False)
    watched = RUNS[name](tmp_path / "watched", True)

    for part, value in plain.items():
        assert same(value, watched[part]), part
    assert plain["logs"]


def test_the_comparison_itself_notices_one_changed_bit() -> None:
    left = {"weights": torch.zeros(3)}
    right = {"weights": torch.tensor([0.0, -0.0, 0.0])}

    assert same(left, {"weights": torch.zeros(3)})
    assert not same(left, right)
