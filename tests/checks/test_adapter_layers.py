"""Layers that an adapter lacks: lost ones are found, chosen ones and those of no use are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from adapters.broken import change, having, without
from adapters.checked import checked
from adapters.healthy import Saves
from trainguard.checks.adapter._layers import absent_beside_base, absent_between_layers
from trainguard.facts.base_model import BaseModelFacts
from trainguard.gather.base_model import base_model_facts

Q = "self_attn.q_proj"


def stored(*layers: int, start: str = "model.layers.") -> list[str]:
    return [f"{start}{number}.{Q}" for number in layers]


def base(layers: int | None, *modules: str) -> BaseModelFacts:
    return BaseModelFacts(
        path="base", layers=layers, shapes={f"{module}.weight": (4, 4) for module in modules}
    )


@pytest.mark.parametrize("lost", [1, 7, 10])
def test_a_layer_between_others_is_missed(lost: int) -> None:
    kept = [number for number in range(12) if number != lost]

    assert list(absent_between_layers(stored(*kept))) == stored(lost)


@pytest.mark.parametrize(
    "layers",
    [
        range(12),
        range(5, 12),
        range(0, 40, 2),
        [number for number in range(40) if number % 5 != 3],
        [0, 10**8],
        [],
    ],
)
def test_layers_that_an_architecture_chooses_are_not_missed(layers: range | list[int]) -> None:
    assert not list(absent_between_layers(stored(*layers)))


def test_lists_of_layers_are_judged_one_by_one() -> None:
    encoder = stored(*range(12), start="encoder.block.")
    decoder = stored(*(n for n in range(12) if n != 4), start="decoder.block.")

    assert list(absent_between_layers(encoder + decoder)) == stored(4, start="decoder.block.")


@pytest.mark.parametrize("module", ["lm_head", "layers.9" + "9" * 5000 + ".q", "0", "a.²", ""])
def test_a_path_without_a_layer_says_nothing(module: str) -> None:
    assert not list(absent_between_layers([module]))
    assert not list(absent_beside_base([module], base(2, *stored(0, 1))))


def test_a_layer_of_the_base_is_missed_by_the_adapters_own_name() -> None:
    files = stored(0, 1, 2, start="h.")

    absent = absent_beside_base(stored(0, start="transformer.h."), base(2, *files))

    assert list(absent) == stored(1, start="transformer.h.")


@pytest.mark.parametrize("layers", [1, None])
def test_what_the_files_hold_beyond_the_models_layers_is_not_missed(layers: int | None) -> None:
    assert not list(absent_beside_base(stored(0), base(layers, *stored(0, 1))))


def test_another_kind_of_module_is_not_missed() -> None:
    other = "vision_tower.layers.1.self_attn.q_proj"

    assert not list(absent_beside_base(stored(0), base(2, *stored(0), other)))


@pytest.mark.parametrize(
    "settings",
    [
        {"layers_to_transform": [0]},
        {"exclude_modules": r".*layers\.1\..*"},
        {"target_modules": r".*layers\.0\..*_proj"},
        {"target_modules": [f"model.layers.0.self_attn.{name}_proj" for name in "qv"]},
    ],
)
def test_a_layer_that_the_config_leaves_out_is_not_missed(
    settings: dict[str, Any], saves: Saves, tmp_path: Path
) -> None:
    shutil.copytree(saves("lora").with_base, tmp_path / "a")
    change(tmp_path / "a", without(r"layers\.1"))
    assert checked(tmp_path / "a").found == ["missing-tensors"]

    change(tmp_path / "a", having(**settings))

    assert checked(tmp_path / "a").found == []


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_hidden_layers": 2}, 2),
        ({"n_layer": 3}, 3),
        ({"text_config": {"num_hidden_layers": 4}, "vision_config": {"depth": 9}}, 4),
        ({"num_hidden_layers": "2"}, None),
        ({"num_hidden_layers": True}, None),
    ],
)
def test_the_number_of_layers_is_read(
    config: dict[str, Any], layers: int | None, saves: Saves, tmp_path: Path
) -> None:
    shutil.copytree(saves("lora").base, tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))

    facts = base_model_facts(tmp_path / "base")

    assert isinstance(facts, BaseModelFacts)
    assert facts.layers == layers
