"""Clipping gives what it always gave, to the bit, and its norms are handed out besides."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import clip_grad, clip_grad_norm_

from trainguard.gather.clip_tap import tap
from trainguard.gather.steps import StepRecorder


class Taken:
    """What was handed out."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], torch.Tensor]] = []

    def take(self, tensors: Sequence[torch.Tensor], norms: torch.Tensor) -> None:
        self.calls.append(([id(tensor) for tensor in tensors], norms.clone()))


def parameters(
    gradients: Sequence[Sequence[float]], dtype: torch.dtype
) -> list[torch.nn.Parameter]:
    made = [torch.nn.Parameter(torch.zeros(len(values), dtype=dtype)) for values in gradients]
    for parameter, values in zip(made, gradients, strict=True):
        parameter.grad = torch.tensor(values, dtype=dtype)
    return made


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.reshape(-1).view(torch.uint8).tolist())


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=200)
@given(
    st.lists(st.lists(numbers, min_size=1, max_size=5), min_size=1, max_size=4),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    st.sampled_from([2, 2.0, 1.0, float("inf")]),
    st.sampled_from([None, True, False]),
    st.sampled_from([0.1, 1.0, float("inf")]),
)
def test_clipping_is_the_same_to_the_bit(
    gradients: list[list[float]],
    dtype: torch.dtype,
    order: float,
    foreach: bool | None,
    limit: float,
) -> None:
    plain, watched = parameters(gradients, dtype), parameters(gradients, dtype)
    expected = clip_grad_norm_(plain, limit, norm_type=order, foreach=foreach)
    taken = Taken()
    end = tap(taken.take)
    total = clip_grad_norm_(watched, limit, norm_type=order, foreach=foreach)
    end()

    assert bits(total) == bits(expected)
    assert [bits(p.grad) for p in watched] == [bits(p.grad) for p in plain]
    is_told = order == 2 and foreach is not False and dtype in (torch.float32, torch.bfloat16)
    assert len(taken.calls) == is_told
    if is_told:
        ids, norms = taken.calls[0]
        assert ids == [id(parameter.grad) for parameter in watched]
        assert bits(norms) == bits(
            torch.stack(torch._foreach_norm([*map(grad, parameters(gradients, dtype))]))
        )


def grad(parameter: torch.nn.Parameter) -> Any:
    return parameter.grad


def test_of_two_types_nothing_is_told_and_the_result_is_the_same() -> None:
    mixed = [*parameters([[3.0]], torch.float32), *parameters([[4.0]], torch.bfloat16)]
    taken = Taken()
    end = tap(taken.take)
    total = clip_grad_norm_(mixed, 100.0)
    end()

    assert total.item() == 5.0
    assert taken.calls == []


def test_what_was_there_before_is_there_again() -> None:
    original = clip_grad._get_total_norm
    first, second = Taken(), Taken()
    ends = [tap(first.take), tap(second.take)]
    clip_grad_norm_(parameters([[3.0, 4.0]], torch.float32), 1.0)
    ends[0]()
    clip_grad_norm_(parameters([[3.0, 4.0]], torch.float32), 1.0)
    ends[1]()

    assert (len(first.calls), len(second.calls)) == (1, 2)
    assert clip_grad._get_total_norm is original


def test_a_run_that_failed_is_not_kept_alive() -> None:
    original = clip_grad._get_total_norm
    tap(Taken().take)
    gc.collect()
    end = tap(Taken().take)
    end()

    assert clip_grad._get_total_norm is original


def test_a_torch_that_computes_another_norm_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(tensors: Any, *_: Any) -> torch.Tensor:
        return (
            torch.stack([tensor.double().norm() for tensor in tensors]).norm().float() * 1.0000001
        )

    monkeypatch.setattr(clip_grad, "_get_total_norm", rounded)
    end = tap(Taken().take)
    assert clip_grad._get_total_norm is rounded
    end()
    monkeypatch.delattr(clip_grad, "_get_total_norm")
    tap(Taken().take)()
    assert not hasattr(clip_grad, "_get_total_norm")


class Passes:
    """A recorder of two parameters that steps as a loop does, and counts its own norm passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.model = torch.nn.Linear(2, 1)
        self.recorder = StepRecorder(self.model, overhead=1.0)
        self.step = 0
        from trainguard.gather import steps

        original = steps.norms

        def counted(gradients: Any) -> Any:
            self.count += 1
            return original(gradients)

        monkeypatch.setattr(steps, "norms", counted)

    def run(self, gradient: float, *, clips: bool) -> Any:
        self.step += 1
        self.model.weight.grad = torch.tensor([[gradient, 0.0]])
        self.model.bias.grad = torch.tensor([0.0])
        self.recorder.gradients()
        if clips:
            end = tap(self.recorder.clipping)
            clip_grad_norm_(list(self.model.parameters())[::-1], 0.5)
            end()
        self.recorder.about_to_update()
        (facts,) = self.recorder.finish(self.step, [1e-3], stepped=True)
        return facts


def test_the_recorder_trusts_clipping_once_it_has_told_every_norm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = Passes(monkeypatch)
    first, second = passes.run(2.0, clips=True), passes.run(float("nan"), clips=True)

    assert passes.count == 1
    assert (first.grad_norm, first.zero_gradients) == (2.0, 1)
    assert second.nonfinite_gradients == ("weight",)
    assert (second.nonfinite_tensors, second.zero_gradients) == (1, 1)


def test_the_recorder_falls_back_where_clipping_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch)
    passes.run(2.0, clips=True)
    without, later = passes.run(3.0, clips=False), passes.run(4.0, clips=False)

    assert (without.grad_norm, later.grad_norm) == (3.0, 4.0)
    assert passes.count == 3


def test_gradients_that_are_gone_are_unknown_rather_than_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = Passes(monkeypatch)
    passes.run(2.0, clips=True)
    for parameter in passes.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    passes.recorder.gradients()
    passes.model.zero_grad()
    (facts,) = passes.recorder.finish(2, [1e-3], stepped=False)

    assert (facts.grad_norm, facts.zero_gradients, facts.gradients) == (None, None, None)
