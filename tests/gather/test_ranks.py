"""Hashes differ where weights do, and rank zero names what differs once all have spoken."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainguard.gather import ranks
from trainguard.gather.ranks import RankComparison, WeightHashes

import tiny

numbers = st.floats(width=32, allow_nan=False) | st.just(math.nan)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def parameters(rows: list[list[float]], dtype: torch.dtype) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor(row, dtype=dtype)) for row in rows]


@settings(max_examples=300)
@given(
    st.lists(st.lists(numbers, min_size=1, max_size=70), min_size=1, max_size=4),
    st.sampled_from(DTYPES),
    st.data(),
)
def test_only_the_hash_of_a_changed_tensor_changes(
    rows: list[list[float]], dtype: torch.dtype, data: Any
) -> None:
    before = WeightHashes(parameters(rows, dtype)).now()
    again = WeightHashes(parameters(rows, dtype)).now()
    place = data.draw(st.integers(0, len(rows) - 1))
    changed = parameters(rows, dtype)
    element = data.draw(st.integers(0, min(len(rows[place]), 64) - 1))
    with torch.no_grad():
        old = changed[place][element].item()
        changed[place][element] = 1.0 if old != 1.0 else 1.0 + 2**-7
    after = WeightHashes(changed).now()

    assert again.tolist() == before.tolist()
    assert [i for i in range(len(rows)) if after[i] != before[i]] == [place]
    assert all(0 <= number < 2**24 and number == int(number) for number in before.tolist())


def test_the_smallest_change_of_any_element_shows() -> None:
    model = tiny.model()
    hashes = WeightHashes([model.lm_head.weight])
    before = hashes.now().item()
    weight = model.lm_head.weight.data.view(-1)
    for element in range(64):
        old = weight[element].clone()
        weight[element] = torch.nextafter(old, torch.tensor(9.0))
        assert hashes.now().item() != before
        weight[element] = old
    assert hashes.now().item() == before


def pair() -> tuple[RankComparison, RankComparison]:
    store = torch.distributed.HashStore()
    first, second = (RankComparison(store, rank, 2, ["a", "b"]) for rank in (0, 1))
    return first, second


def test_a_step_is_compared_when_every_rank_has_spoken() -> None:
    first, second = pair()
    for rank in (first, second):
        rank.publish(0, [1.0, 2.0])
    first.publish(1, [3.0, 4.0])
    assert list(first.arrived()) == []
    second.publish(1, [3.0, 5.0])
    (step,) = first.arrived()

    assert (step.step, step.ranks, step.ranks_apart) == (1, 2, ("b",))
    assert list(second.arrived()) == []


def test_ranks_that_begin_apart_are_no_replicas() -> None:
    first, second = pair()
    for step in (0, 1):
        first.publish(step, [1.0, 2.0])
        second.publish(step, [1.0, 3.0])

    assert list(first.arrived()) == []


def test_the_parts_of_a_pipeline_are_no_replicas() -> None:
    first, second = pair()
    for step in (0, 1):
        first.publish(step, [1.0, 2.0])
        second.publish(step, [1.0, 2.0, 3.0])

    assert list(first.arrived()) == []


def test_a_rank_that_is_gone_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "PATIENCE", 0.05)
    first, second = pair()
    for rank in (first, second):
        rank.publish(0, [1.0, 2.0])
    first.publish(1, [1.0, 2.0])

    assert first.drain() == []


def test_the_store_holds_a_bounded_number_of_steps_whoever_reads_them() -> None:
    first, second = pair()
    for step in range(200):
        second.publish(step, [float(step), 0.0])
    for step in range(200):
        first.publish(step, [float(step), 0.0])
    steps = list(first.arrived())

    # That of step 136, the oldest that is left, takes the place of the beginning.
    assert [step.step for step in steps] == list(range(137, 200))
    assert second._store.num_keys() == ranks.KEPT


def test_a_process_alone_compares_nothing() -> None:
    assert ranks.rank_comparison(["a"]) is None
