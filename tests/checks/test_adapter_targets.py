"""Which modules a config targets, against PEFT's own decision."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from trainguard.checks.adapter._targets import is_targeted, pattern_value
from trainguard.facts.adapter import AdapterConfig

MODULES = [
    "q_proj",
    "lm_head",
    "layers.0.q_proj",
    "model.layers.0.q_proj",
    "model.layers.1.self_attn.q_proj",
    "model.layers.1.experts.0.up_proj",
    "model.layers.10.mlp.up_proj",
    "vision.blocks.1.attn.qkv",
    "model.xq_proj",
    "model.layers.1",
]
NAMES = st.sampled_from(
    ["q_proj", "up_proj", "qkv", "lm_head", "attn.qkv", "model.layers.0.q_proj"]
)
PATTERNS = st.sampled_from(
    [r".*q_proj", r"model\..*", r".*\.(1|10)\..*", "q_proj", r".*layers\.\d\..*"]
)
LISTS = st.lists(NAMES, min_size=1, max_size=3, unique=True)


def ours(values: dict[str, Any]) -> AdapterConfig:
    return AdapterConfig(path="adapter_config.json", values={"peft_type": "LORA"} | values)


def theirs(values: dict[str, Any], module: str) -> bool:
    config = SimpleNamespace(target_parameters=None, **values)
    return bool(check_target_module_exists(config, module))


@given(LISTS | PATTERNS, st.none() | LISTS | PATTERNS, st.none() | LISTS, st.sampled_from(MODULES))
def test_a_module_is_targeted_if_peft_says_so(
    targets: Any, excluded: Any, saved: Any, module: str
) -> None:
    values = {
        "target_modules": targets,
        "exclude_modules": excluded,
        "modules_to_save": saved,
    }

    assert is_targeted(ours(values), module) is theirs(values, module)


@pytest.mark.parametrize("layers", [None, 0, 1, [1], [0, 10], []])
@pytest.mark.parametrize("pattern", [None, "layers", ["layers", "blocks"], "blocks", [], "lay.rs"])
def test_a_layer_is_chosen_if_peft_says_so(layers: Any, pattern: Any) -> None:
    for name, module in product(["q_proj", "up_proj", "qkv", "1"], MODULES):
        values = {
            "target_modules": [name],
            "layers_to_transform": layers,
            "layers_pattern": pattern,
        }
        assert is_targeted(ours(values), module) is theirs(values, module), (name, module)


KEYS = [
    "q_proj",
    "layers.1",
    ".*q_proj",
    "^model.layers.0.q_proj",
    "up_proj|qkv",
    r"layers\.\d+\..*",
]


@given(st.permutations(KEYS), st.integers(0, len(KEYS)), st.sampled_from(MODULES))
def test_the_first_matching_pattern_gives_the_value(
    keys: list[str], count: int, module: str
) -> None:
    pattern = {key: number for number, key in enumerate(keys[:count])}

    found = pattern_value(ours({"rank_pattern": pattern}), "rank_pattern", module)

    assert found == pattern.get(get_pattern_key(list(pattern), module))
