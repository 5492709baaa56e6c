"""Gradients and updates layer by layer: what is recorded is what was there, and reads back."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainguard import TrainGuardCallback
from trainguard.facts.failure import Failure
from trainguard.facts.layers import MAX_LAYERS, LayerStep, layers_of, short_names
from trainguard.facts.steps import StepFacts
from trainguard.gather.run import run_evidence
from trainguard.gather.run_layers import MAX_LAYER_STEPS, LayerReader, LayerWriter
from trainguard.gather.steps import StepRecorder

import tiny


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3"),
        ("base_model.model.model.layers.11.mlp.up_proj.lora_A.default.weight", "model.layers.11"),
        ("model.layers.0.mlp.experts.5.w1.weight", "model.layers.0"),
        ("encoder.block.0.layer.1.DenseReluDense.wi.weight", "encoder.block.0"),
        ("transformer.h.7.ln_1.bias", "transformer.h.7"),
        ("model.embed_tokens.weight", "model.embed_tokens"),
        ("base_model.model.model.embed_tokens.lora_embedding_A.default", "model.embed_tokens"),
        ("base_model.model.lm_head.modules_to_save.default.weight", "lm_head"),
        ("lm_head.lora_B.default.weight", "lm_head"),
        ("_orig_mod.lm_head.weight", "lm_head"),
        ("0.weight", "0"),
        ("weight", "weight"),
    ],
)
def test_a_parameter_belongs_to_its_numbered_block_or_its_module(
    parameter: str, layer: str
) -> None:
    assert layers_of([parameter]) == {parameter: layer}


@given(st.lists(st.text(max_size=30), unique=True, max_size=400))
def test_there_are_never_too_many_layers_and_no_parameter_is_lost(names: list[str]) -> None:
    layers = layers_of(names)

    assert list(layers) == names
    assert len(set(layers.values())) <= MAX_LAYERS


def test_neighbours_are_joined_where_there_are_too_many() -> None:
    layers = layers_of([f"model.layers.{number}.weight" for number in range(200)])

    assert layers["model.layers.0.weight"] == "model.layers.0 to model.layers.1"
    assert len(set(layers.values())) == 100


def test_short_names_are_used_only_if_they_tell_the_layers_apart() -> None:
    assert short_names(["model.layers.0", "model.norm", "lm_head"]) == [
        "layers.0",
        "norm",
        "lm_head",
    ]
    both = ["encoder.block.0", "decoder.block.0"]
    assert short_names(both) == both


def two_layers() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2, bias=False))


def test_norms_and_ratios_are_those_of_each_layer() -> None:
    model = two_layers()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    recorder = StepRecorder(model, overhead=1.0)
    recorder.micro_batch(torch.tensor(1.0), {})
    recorder.gradients()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    recorder.updated()
    recorder.finish(1, [0.1], stepped=True)
    (seen,) = recorder.layers()

    norms = [parameter.grad.norm().item() for parameter in model.parameters()]
    assert seen.names == ("0", "1")
    assert seen.gradients == pytest.approx((math.hypot(norms[0], norms[1]), norms[2]))
    first = math.hypot(before[0].norm().item(), before[1].norm().item())
    expected = (0.1 * seen.gradients[0] / first, 0.1 * norms[2] / before[2].norm().item())
    assert seen.ratios == pytest.approx(expected, rel=1e-4)
    assert recorder.layers() == []


def test_a_layer_without_a_gradient_has_norm_zero_and_no_ratio() -> None:
    model = two_layers()
    model[0].weight.grad = torch.ones(4, 3)
    model[1].weight.grad = torch.zeros(2, 4)
    recorder = StepRecorder(model, overhead=1.0)
    recorder.gradients()
    recorder.updated()
    recorder.finish(1, [0.1], stepped=True)
    (seen,) = recorder.layers()

    assert seen.gradients == (pytest.approx(12**0.5), 0.0)
    assert seen.ratios == (0.0, None)


def test_the_steps_of_a_long_run_are_kept_farther_and_farther_apart() -> None:
    model = torch.nn.Linear(2, 1)
    recorder = StepRecorder(model, overhead=1e9)
    kept: list[int] = []
    for number in range(1, 1501):
        model.weight.grad, model.bias.grad = torch.ones(1, 2), torch.ones(1)
        recorder.gradients()
        with torch.no_grad():
            model.weight -= 0.01
            model.bias -= 0.01
        recorder.updated()
        recorder.finish(number, [0.1], stepped=True)
        kept += [seen.step for seen in recorder.layers()]

    assert kept[:64] == list(range(1, 65))
    assert len(kept) < 64 * (1 + math.log(1500 / 64)) + 20
    assert max(after - before for before, after in pairwise(kept)) <= 1500 / 64 + 1


floats = st.floats(0, 1e30) | st.sampled_from([math.nan, math.inf])
layer_steps = st.lists(st.text(max_size=10), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.builds(
        LayerStep,
        step=st.integers(1, 2**40),
        names=st.just(tuple(names)),
        gradients=st.tuples(*[floats] * len(names)),
        ratios=st.tuples(*[st.none() | floats] * len(names)),
    )
)


@given(st.lists(layer_steps, max_size=5, unique_by=lambda step: step.step))
def test_the_record_reads_back_in_four_digits(steps: list[LayerStep]) -> None:
    reader = LayerReader()
    for entry in LayerWriter().entries(steps):
        read = json.loads(json.dumps(entry, allow_nan=False))
        (reader.name if read["kind"] == "layers" else reader.add)(read)

    for read, written in zip(reader.steps, sorted(steps, key=lambda one: one.step), strict=True):
        assert (read.step, read.names) == (written.step, written.names)
        same = pytest.approx(written.gradients, rel=1e-3, nan_ok=True)
        assert read.gradients == same
        assert [value is None for value in read.ratios] == [v is None for v in written.ratios]


def test_names_are_written_once_and_again_when_they_change() -> None:
    one = {"gradients": (1.0,), "ratios": (None,)}
    steps = [LayerStep(step=n, names=(name,), **one) for n, name in enumerate("aab", start=1)]

    assert [entry["kind"] for entry in LayerWriter().entries(steps)] == [
        "layers",
        "layer-step",
        "layer-step",
        "layers",
        "layer-step",
    ]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
foreign = st.fixed_dictionaries(
    {"kind": st.sampled_from(["layers", "layer-step"])},
    optional=dict.fromkeys(["names", "step", "gradients", "ratios"], anything),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(foreign, max_size=4))
def test_foreign_entries_become_a_failure_and_no_exception(
    tmp_path: Path, entries: list[dict[str, Any]]
) -> None:
    record = tmp_path / "steps.jsonl"
    record.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    facts = run_evidence(record, "run").facts

    assert Failure in facts or StepFacts in facts
    for step in facts.get(LayerStep, ()):
        assert all(isinstance(value, float) for value in step.gradients)
        assert len(step.gradients) == len(step.ratios) == len(step.names)


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "layers", "names": ["x"] * (MAX_LAYERS + 1)},
        {"kind": "layers", "names": [1]},
        {"kind": "layer-step", "step": True, "gradients": [], "ratios": []},
        {"kind": "layer-step", "step": 1, "gradients": [1.0], "ratios": [None]},
        {"kind": "layer-step", "step": 1, "gradients": "", "ratios": []},
    ],
)
def test_a_wrong_entry_is_reported(tmp_path: Path, entry: dict[str, Any]) -> None:
    record = tmp_path / "steps.jsonl"
    record.write_text(json.dumps(entry) + "\n")

    assert "ValueError" in run_evidence(record, "run").facts[Failure][0].error


def test_more_steps_than_are_read_are_left_out() -> None:
    reader = LayerReader()
    for step in range(1, MAX_LAYER_STEPS + 10):
        reader.add({"step": step, "gradients": [], "ratios": []})

    assert len(reader.steps) == MAX_LAYER_STEPS


def test_a_real_run_names_the_layer_of_a_planted_nan(tmp_path: Path) -> None:
    model = tiny.model()

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * math.nan if len(calls) >= 3 else gradient

    calls: list[int] = []
    model.model.layers[1].mlp.down_proj.weight.register_hook(poison)
    trainer = tiny.trainer(model, tmp_path, callbacks=[TrainGuardCallback()], max_steps=4)
    trainer.train()
    seen = run_evidence(tmp_path / "trainguard" / "steps.jsonl", "run").facts[LayerStep]
    by_step = {step.step: dict(zip(step.names, step.gradients, strict=True)) for step in seen}

    assert list(by_step[2]) == [
        "model.embed_tokens",
        "model.layers.0",
        "model.layers.1",
        "model.norm",
        "lm_head",
    ]
    assert all(0 < norm < math.inf for norm in by_step[2].values())
    assert [name for name, norm in by_step[3].items() if not math.isfinite(norm)] == [
        "model.layers.1"
    ]
