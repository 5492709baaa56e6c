"""The checks of configs and values under arbitrary input: no raise, and the limits as stated."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.broken import Config
from adapters.healthy import lora
from checks.test_adapter_settings import NEW
from trainguard.engine import judge
from trainguard.facts.adapter import AdapterConfig, AdapterFiles, AdapterTensors, TensorFacts
from trainguard.facts.base_model import BaseModelFacts, BaseReference
from trainguard.facts.evidence import Evidence
from trainguard.facts.intent import Intent
from trainguard.findings import Finding
from trainguard.registry import find, select

CODES = [*NEW, "TG151", "TG152"]
FIELDS = sorted(json.loads(json.dumps(lora().to_dict(), default=list)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=5,
)
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False, min_value=0)
TENSOR = st.builds(
    TensorFacts,
    name=st.sampled_from(
        [
            "base_model.model.layers.0.q_proj.lora_A.weight",
            "base_model.model.layers.1.q_proj.lora_B.weight",
            "lm_head.weight",
            "lora_A",
            "",
        ]
    ),
    dtype=st.sampled_from(["F32", "I8", "F8_E4M3"]),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    nonfinite=st.none() | st.integers(0, 9),
    largest=NUMBERS,
    constant=NUMBERS,
    rms=NUMBERS,
)


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON),
    st.sampled_from(["LORA", "IA3", "PROMPT_TUNING", "ADALORA"]),
    st.lists(TENSOR, max_size=5),
    st.sampled_from([None, "peft", "transformers", "vllm", "llamacpp", "sglang"]),
    st.dictionaries(
        st.sampled_from(["layers.0.q_proj.weight", "lm_head.weight", "weight", "", "."]),
        st.none() | st.lists(st.integers(0, 9), max_size=3).map(tuple),
    ),
)
@settings(max_examples=300, deadline=None)
def test_no_check_raises_whatever_the_fields_hold(
    values: Config, kind: str, tensors: list[TensorFacts], target: Any, shapes: Any
) -> None:
    config = AdapterConfig(path="c", values={"peft_type": kind} | values)
    name = config.text("base_model_name_or_path") or ""
    facts = {
        Intent: Intent(target=target),
        AdapterConfig: config,
        AdapterTensors: AdapterTensors(path="t", tensors=tuple(tensors)),
        AdapterFiles: AdapterFiles(folder="f"),
        BaseReference: BaseReference(name=name, exists=False),
        BaseModelFacts: BaseModelFacts(path="b", shapes=shapes),
    }

    report = judge([Evidence(subject="a", kind="adapter", facts=facts)], select(["TG0", *CODES]))

    assert not [finding.message for finding in report.findings if finding.code == "TG000"]
    report.to_json()


@given(st.integers(1, 512), st.floats(-1e6, 1e6), st.booleans())
def test_the_scaling_is_judged_by_peft_s_own_formula(r: int, alpha: float, rooted: bool) -> None:
    values = {"peft_type": "LORA", "r": r, "lora_alpha": alpha, "use_rslora": rooted}
    config = AdapterConfig(path="c", values=values)
    factor = alpha / (math.sqrt(r) if rooted else r)

    found = list(find("TG111").judge(config))

    assert bool(found) == (factor != 0 and not 0.001 <= factor <= 32)


@given(st.lists(st.floats(1e-12, 1e3), min_size=1, max_size=9))
def test_the_size_of_b_is_judged_by_its_median(sizes: list[float]) -> None:
    tensors = tuple(
        TensorFacts(
            name=f"base_model.model.layers.{n}.q.lora_B.weight",
            dtype="F32",
            shape=(4, 4),
            nonfinite=0,
            rms=size,
            largest=min(size, 100.0),
        )
        for n, size in enumerate(sizes)
    )
    middle = statistics.median(sizes)

    facts = AdapterTensors(path="t", tensors=tensors)
    found = list(find("TG119").judge(AdapterConfig(path="c", values={"peft_type": "LORA"}), facts))

    clear = abs(middle - 1e-6) > 1e-12 and abs(middle - 0.5) > 1e-6
    assert not clear or bool(found) == (not 1e-6 <= middle <= 0.5)
    assert all(isinstance(finding, Finding) for finding in found)
