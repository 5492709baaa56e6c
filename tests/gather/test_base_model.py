"""A base model's folder may hold anything; facts or a reason come out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from trainguard.facts.adapter import AdapterConfig
from trainguard.facts.base_model import BaseModelFacts, BaseReference
from trainguard.facts.evidence import Evidence
from trainguard.gather.base_model import INDEX, WEIGHTS, base_model_facts, with_base

EMBEDDING, Q = "model.embed_tokens.weight", "model.layers.0.q_proj.weight"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": 99}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {EMBEDDING: np.zeros((10, 4), np.float16), Q: np.zeros((4, 4), np.uint8)}
    save_file(tensors, tmp_path / WEIGHTS)
    return tmp_path


def test_one_file_is_read(model: Path) -> None:
    found = base_model_facts(model)

    assert found == BaseModelFacts(
        path=str(model),
        architecture="LlamaForCausalLM",
        vocab=10,
        shapes={EMBEDDING: (10, 4), Q: None},
    )
    assert found.modules() == {"model.embed_tokens", "model.layers.0.q_proj"}


def test_shards_are_read_by_their_index(model: Path) -> None:
    (model / WEIGHTS).unlink()
    for number, name in enumerate((EMBEDDING, Q)):
        save_file({name: np.zeros((4, 4), np.float32)}, model / f"{number}.safetensors")
    files = {EMBEDDING: "0.safetensors", Q: "1.safetensors"}
    (model / INDEX).write_text(json.dumps({"weight_map": files}))

    found = base_model_facts(model)

    assert isinstance(found, BaseModelFacts)
    assert found.shapes == {EMBEDDING: (4, 4), Q: (4, 4)}


def test_without_a_config_the_tensors_still_count(model: Path) -> None:
    (model / "config.json").write_text("{")

    found = base_model_facts(model)

    assert isinstance(found, BaseModelFacts)
    assert (found.architecture, found.vocab) == (None, 10)


@pytest.mark.parametrize(
    "index",
    [
        "{",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "x"}}',
    ]
    + [json.dumps({"weight_map": {"a": name}}) for name in ("../x", "/etc/passwd", "..", "a\\b")]
    + [json.dumps({"weight_map": {str(n): str(n) for n in range(3000)}}), "[" * 100_000],
)
def test_an_unusable_index_gives_a_reason(index: str, model: Path) -> None:
    (model / WEIGHTS).unlink()
    (model / INDEX).write_text(index)

    assert isinstance(base_model_facts(model), str)


def test_a_fifo_or_nothing_gives_a_reason(tmp_path: Path) -> None:
    assert base_model_facts(tmp_path) == f"{WEIGHTS} is missing"
    assert isinstance(base_model_facts(tmp_path / "nowhere"), str)
    assert isinstance(base_model_facts("a\0b"), str)
    os.mkfifo(tmp_path / WEIGHTS)
    assert base_model_facts(tmp_path) == f"{WEIGHTS} is a FIFO, not a regular file"


@given(weights=st.binary(max_size=200), config=st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_give_facts_or_a_reason(weights: bytes, config: bytes, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(weights)
    (tmp_path / "config.json").write_bytes(config)

    assert isinstance(base_model_facts(tmp_path), str | BaseModelFacts)


def evidence(name: object) -> Evidence:
    config = AdapterConfig(path="c", values={"base_model_name_or_path": name})
    return Evidence(subject="a", kind="adapter", facts={AdapterConfig: config})


def test_a_local_base_is_found_by_the_config(model: Path) -> None:
    found = with_base(evidence(str(model)))

    assert found.facts[BaseReference] == BaseReference(name=str(model), exists=True)
    assert found.facts[BaseModelFacts].vocab == 10


def test_the_stated_base_wins_and_its_absence_has_a_reason(model: Path, tmp_path: Path) -> None:
    found = with_base(evidence("gpt2"), tmp_path / "nowhere")

    assert found.facts[BaseReference] == BaseReference(name="gpt2", exists=False)
    assert "is missing" in found.absent[BaseModelFacts]
    assert BaseModelFacts in with_base(evidence("gpt2"), model).facts


@pytest.mark.parametrize("name", [None, 3, "", ["x"], "a\0b", "x" * 5000])
def test_a_name_that_is_no_path_is_no_base(name: object) -> None:
    found = with_base(evidence(name))

    assert not found.facts[BaseReference].exists
    assert BaseModelFacts not in found.facts | found.absent
