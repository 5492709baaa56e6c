"""The recorder computes what it says, and never reads a device tensor on the way."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainguard.gather.step_numbers import Transfer
from trainguard.gather.step_tensors import head
from trainguard.gather.steps import StepRecorder

import tiny


def one_step(model: torch.nn.Module, **changes: Any) -> Any:
    recorder = StepRecorder(model, overhead=1.0)
    recorder.micro_batch(torch.tensor(2.0), {"labels": torch.tensor([[-100, 5, 6]])})
    recorder.gradients(**changes)
    recorder.updated()
    (step,) = recorder.finish(1, [1e-3], stepped=True)
    return step


def linear(gradient: list[float]) -> torch.nn.Module:
    layer = torch.nn.Linear(len(gradient), 1, bias=False)
    layer.weight.grad = torch.tensor([gradient])
    return layer


elements = st.floats(-1e6, 1e6, width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0])


@settings(max_examples=200)
@given(st.lists(elements, min_size=1, max_size=8))
def test_norms_are_exact_about_zero_and_about_what_is_not_finite(gradient: list[float]) -> None:
    step = one_step(linear(gradient))
    exact = torch.tensor(gradient, dtype=torch.float64).norm().item()

    assert math.isfinite(step.grad_norm) == all(map(math.isfinite, gradient))
    assert step.nonfinite_gradients == (() if math.isfinite(exact) else ("weight",))
    if all(map(math.isfinite, gradient)):
        assert step.grad_norm == pytest.approx(exact, rel=1e-5, abs=1e-22)
    squares_underflow = all(abs(value) < 1e-18 for value in gradient)
    if not squares_underflow:
        assert step.zero_gradients == 0


def test_micro_batches_add_up() -> None:
    recorder = StepRecorder(linear([1.0]), overhead=1.0)
    for loss, labels in ((1.5, [[1, 2]]), (2.0, [[-100, 2]])):
        recorder.micro_batch(torch.tensor(loss), {"labels": torch.tensor(labels)})
    (step,) = recorder.finish(7, None, stepped=None)

    assert (step.step, step.loss, step.supervised_tokens) == (7, 3.5, 3)
    assert step.grad_norm is None
    assert step.moved is None


def test_a_float16_gradient_beyond_its_range_has_a_finite_norm() -> None:
    layer = torch.nn.Linear(64, 64, bias=False).half()
    layer.weight.grad = torch.full((64, 64), 6e4, dtype=torch.float16)

    assert one_step(layer).grad_norm == pytest.approx(6e4 * 64, rel=1e-2)


def test_a_gradient_scaler_is_divided_out() -> None:
    assert one_step(linear([3.0, 4.0]), scale=torch.tensor(100.0)).grad_norm == pytest.approx(0.05)


def test_only_elements_with_a_gradient_count_as_sampled() -> None:
    layer = linear([0.0, 1.0, 2.0])
    recorder = StepRecorder(layer, overhead=1.0)
    recorder.gradients()
    with torch.no_grad():
        layer.weight[0, 0] += 1.0
        layer.weight[0, 2] += 1.0
    recorder.updated()
    (step,) = recorder.finish(1, None, stepped=True)

    assert (step.sampled, step.moved) == (2, 1)


def test_sparse_gradients_and_tied_weights_are_tolerated() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(4, 3, sparse=True), torch.nn.Linear(3, 4))
    model[0](torch.tensor([1])).sum().backward()
    step = one_step(model)

    assert (step.gradients, step.zero_gradients) == (3, 3)


def test_a_parameter_without_gradient_counts_as_zero() -> None:
    model = tiny.model()
    ids = torch.tensor(tiny.rows(4)["input_ids"])
    model(input_ids=ids, labels=ids).loss.backward()
    model.lm_head.weight.grad = None
    step = one_step(model)

    assert (step.gradients, step.zero_gradients) == (21, 1)


class Accelerator:
    """A stand-in for a device whose copies arrive when the test says so."""

    arrived = False

    def record(self) -> None: ...

    def query(self) -> bool:
        return self.arrived

    def synchronize(self) -> None:
        self.arrived = True


def test_on_a_device_nothing_is_read_before_it_has_arrived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Meta tensors have no values: whatever needs one raises, as a sync would on a device."""
    events: list[Accelerator] = []

    def event() -> Accelerator:
        events.append(Accelerator())
        return events[-1]

    monkeypatch.setattr(
        torch, "meta", type("meta", (), {"Event": staticmethod(event)}), raising=False
    )
    monkeypatch.setattr(Transfer, "_buffer", lambda self, size: torch.arange(1.0, size + 1.0))
    monkeypatch.setattr(torch.Tensor, "copy_", lambda self, source, non_blocking=False: self)
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
        labels = torch.zeros(2, 2, dtype=torch.int64)
        loss = torch.zeros(())
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    recorder = StepRecorder(model, overhead=1.0)
    for number in (1, 2):
        recorder.micro_batch(loss, {"labels": labels})
        recorder.gradients()
        recorder.updated()
        assert recorder.finish(number, [0.1], stepped=True) == []
    events[0].arrived = True
    recorder.micro_batch(loss, {})
    first, *rest = recorder.finish(3, [0.1], stepped=True)

    # The buffer counts 1, 2, 3, ...: loss, tokens, four norms, sampled, moved, in this order.
    assert (first.step, first.loss, first.supervised_tokens) == (1, 1.0, 2)
    assert first.grad_norm == pytest.approx(math.hypot(3, 4, 5, 6))
    assert (first.sampled, first.moved) == (7, 8)
    assert rest == []
    assert [step.step for step in recorder.drain()] == [2, 3]


@pytest.mark.parametrize("shape", [(3,), (100,), (2, 5), (5, 100), (70, 2), (3, 4, 9), (90, 1, 2)])
def test_the_same_elements_are_sampled_however_a_tensor_lies_in_memory(
    shape: tuple[int, ...],
) -> None:
    plain = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    turned = plain.permute(*reversed(range(len(shape)))).contiguous()
    turned = turned.permute(*reversed(range(len(shape))))

    assert torch.equal(head(plain), plain.flatten()[:64])
    assert torch.equal(head(turned), head(plain))
