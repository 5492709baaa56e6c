"""An adapter folder may hold anything; the gatherer returns evidence."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.adapter import AdapterConfig, AdapterFiles, AdapterTensors, TensorFacts
from trainguard.facts.intent import Intent
from trainguard.gather.adapter import adapter_evidence, is_adapter
from trainguard.registry import select

from written import CONFIG, JSON, MODULE, WEIGHTS, healthy_adapter, problem_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return healthy_adapter(tmp_path)


def test_a_healthy_folder_is_read_in_full(folder: Path) -> None:
    evidence = adapter_evidence(folder, Intent("train"), scope="run")

    config, tensors = evidence.facts[AdapterConfig], evidence.facts[AdapterTensors]
    assert (evidence.kind, evidence.subject, evidence.scope) == ("adapter", str(folder), "run")
    assert evidence.facts[Intent] == Intent("train")
    assert evidence.facts[AdapterFiles].names == (JSON, WEIGHTS)
    assert config.values == CONFIG
    assert config.location("r").line == 3
    assert [line.text.strip() for line in config.location("r").excerpt if line.marked] == [
        '"r": 2,'
    ]
    assert tensors.tensors[1] == TensorFacts(
        name=f"{MODULE}.lora_B.weight",
        dtype="F32",
        shape=(8, 2),
        nonfinite=0,
        largest=0.25,
        constant=0.25,
        rms=0.25,
    )
    assert not evidence.absent
    assert [finding.code for finding in judge([evidence], select(["TG1"])).findings] == ["TG109"]


def test_only_an_adapters_files_make_an_adapter(folder: Path) -> None:
    assert is_adapter(folder)
    (folder / JSON).unlink()
    assert is_adapter(str(folder))
    (folder / WEIGHTS).rename(folder / "model.safetensors")
    assert not is_adapter(folder)
    assert not is_adapter(folder / "nowhere")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (LFS, f"Git LFS pointer of {len(LFS)} bytes"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
        (b"\n  <html><body>404</body></html>", "HTML page"),
        (b"PK\x03\x04" + bytes(60), "zip archive"),
        (pickle.dumps({"a": 1}, protocol=2), "pickle"),
        (pickle.dumps({"a": 1}, protocol=4), "pickle"),
        (b"GGUF\x03\x00\x00\x00" + bytes(60), "GGUF"),
        (b"", "is empty"),
        (bytes(4096), "begins with zero bytes"),
        (b"abc", "cut short"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(
    folder: Path, content: bytes, says: str
) -> None:
    (folder / WEIGHTS).write_bytes(content)

    name, problem = problem_of(folder)

    assert name == WEIGHTS
    assert says in problem


def test_a_truncated_file_is_reported_with_its_numbers(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-30])

    assert problem_of(folder)[1] == (
        "is cut short: the header states 128 bytes of tensors, 98 follow"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"r": 8,}', "line 1 column 9"),
        (b'{\n  "r": 8 // rank\n}', "line 2"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        ('{"r": 8}'.encode("utf-16"), "UTF-16"),
        (b"\xff", "not UTF-8"),
        (b"[1]", "holds a list"),
        (b"null", "holds null"),
        (b"", "is empty"),
        (LFS, "Git LFS pointer"),
        (b'{"r": ' * 100_000, "nested too deeply"),
        (b'{"r": ' + b"9" * 5000 + b"}", "not usable JSON"),
        (b" " * (16 * 1024 * 1024) + b"{}", "larger than"),
    ],
)
def test_a_config_that_is_no_json_object_is_named(folder: Path, content: bytes, says: str) -> None:
    (folder / JSON).write_bytes(content)

    name, problem = problem_of(folder)

    assert name == JSON
    assert says in problem


def test_a_broken_config_leaves_its_checks_undone_with_the_reason(folder: Path) -> None:
    (folder / JSON).write_text("{")

    report = judge([adapter_evidence(folder)], select(["TG108"]))

    (entry,) = report.not_checked
    assert entry.reason.startswith("adapter_config.json is not valid JSON")


def test_odd_values_in_a_config_break_no_check(folder: Path) -> None:
    odd: list[Any] = [None, True, -1, 1e400, "x", "(", [], [1, None], {}, {"(": "("}, 10**4000]
    for key in [*CONFIG, "rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform",
                "exclude_modules", "layers_pattern", "target_parameters", "use_dora"]:  # fmt: skip
        for value in odd:
            (folder / JSON).write_text(json.dumps(CONFIG | {key: value}))
            report = judge([adapter_evidence(folder, Intent("train"))], select(["TG0", "TG1"]))
            report.to_json()
            assert "TG000" not in {finding.code for finding in report.findings}, (key, value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=6), st.sampled_from([None, 0, 3]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_key_is_found_on_its_line(
    tmp_path: Path, values: dict[str, Any], indent: int | None
) -> None:
    text = json.dumps(values, indent=indent)
    (tmp_path / JSON).write_text(text)

    config = adapter_evidence(tmp_path).facts[AdapterConfig]

    assert json.dumps(config.values) == json.dumps(values)
    assert config.lines.keys() == values.keys()
    for key, line in config.lines.items():
        assert json.dumps(key) in config.source[line - 1]


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_two_files_give_evidence(tmp_path: Path, config: bytes, weights: bytes) -> None:
    (tmp_path / JSON).write_bytes(config)
    (tmp_path / WEIGHTS).write_bytes(weights)

    report = judge([adapter_evidence(tmp_path)], select(["TG0", "TG1"]))

    assert "TG000" not in {finding.code for finding in report.findings}
