"""Records of runs: round trips, hostile files, killed writers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.failure import Failure
from trainguard.facts.model import ModelFacts
from trainguard.facts.steps import StepFacts
from trainguard.gather.run import (
    run_evidence,
    run_record,
    step_from_json,
    step_to_json,
    steps_from_logs,
)

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
counts = st.none() | st.integers(0, 2**40)
facts = st.builds(
    StepFacts,
    step=st.integers(1, 2**40),
    loss=st.none() | numbers,
    logged_loss=st.none() | numbers,
    grad_norm=st.none() | numbers,
    learning_rates=st.none() | st.lists(numbers, min_size=1, max_size=3).map(tuple),
    supervised_tokens=counts,
    gradients=counts,
    zero_gradients=counts,
    nonfinite_gradients=st.lists(st.text(), max_size=3).map(tuple),
    nonfinite_tensors=counts,
    stepped=st.none() | st.booleans(),
    sampled=counts,
    moved=counts,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["step", "loss", "grad_norm", "learning_rate", "learning_rates", "kind", "log_history"]


@given(facts)
def test_a_step_survives_the_record_to_the_last_bit(step: StepFacts) -> None:
    line = json.dumps(step_to_json(step), allow_nan=False)

    assert repr(step_from_json(json.loads(line))) == repr(step)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), anything))
def test_a_foreign_log_entry_never_raises(entry: dict[str, Any]) -> None:
    for step in steps_from_logs([entry]):
        assert step.step > 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.binary(max_size=200)
    | st.lists(st.dictionaries(st.sampled_from(FIELDS), anything), max_size=3).map(
        lambda entries: b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    )
)
@pytest.mark.parametrize("name", ["steps.jsonl", "trainer_state.json"])
def test_hostile_records_become_failures_not_exceptions(
    tmp_path: Path, name: str, content: bytes
) -> None:
    record = tmp_path / name
    record.write_bytes(content)
    report = judge([run_evidence(record, "run")])

    assert {finding.code for finding in report.findings} <= {"TG000"} or report.checked


def write(folder: Path, *lines: object) -> Path:
    record = folder / "trainguard" / "steps.jsonl"
    record.parent.mkdir(parents=True)
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return record


def test_a_log_line_is_joined_with_its_step_and_a_later_step_replaces_an_earlier(
    tmp_path: Path,
) -> None:
    record = write(
        tmp_path,
        {"kind": "model", "tensors": 4, "trainable_tensors": 1, "elements": 9, "future": 1}
        | {"trainable_elements": 3},
        {"kind": "step", "step": 1, "loss": 9.0},
        {"kind": "step", "step": 1, "loss": "nan", "grad_norm": 2.0},
        {"kind": "log", "step": 1, "logged_loss": 0.0, "grad_norm": 7.0},
    )
    evidence = run_evidence(record, "run")

    (step,) = evidence.facts[StepFacts]
    assert repr(step.loss) == "nan"
    assert (step.logged_loss, step.grad_norm) == (0.0, 2.0)
    assert evidence.facts[ModelFacts].trainable_elements == 3


def test_a_killed_writer_loses_its_unfinished_line_only(tmp_path: Path) -> None:
    record = write(tmp_path, {"kind": "step", "step": 1, "loss": 2.0})
    record.write_text(record.read_text() + '{"kind": "step", "st')

    assert [step.step for step in run_evidence(record, "run").facts[StepFacts]] == [1]


def test_a_broken_line_in_the_middle_is_reported_with_its_number(tmp_path: Path) -> None:
    record = write(tmp_path, {"kind": "step", "step": 1})
    record.write_text(record.read_text() + "{]\n" + json.dumps({"kind": "step", "step": 2}) + "\n")
    evidence = run_evidence(record, "run")

    assert "line 2 is not JSON" in evidence.facts[Failure][0].error
    assert judge([evidence]).exit_code == 1


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    record = tmp_path / "steps.jsonl"
    record.write_bytes(b"[" * (2**20 + 10))

    assert "longer than" in run_evidence(record, "run").facts[Failure][0].error


def test_deeply_nested_json_is_a_failure_and_not_a_crash(tmp_path: Path) -> None:
    record = tmp_path / "trainer_state.json"
    record.write_bytes(b"[" * 200_000)

    assert run_evidence(record, "run").facts[Failure]


def test_the_live_record_wins_and_the_latest_checkpoint_is_the_last_resort(tmp_path: Path) -> None:
    for number in (2, 10):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / "trainer_state.json").write_text("{}")
    assert run_record(tmp_path) == tmp_path / "checkpoint-10" / "trainer_state.json"

    (tmp_path / "trainer_state.json").write_text("{}")
    assert run_record(tmp_path) == tmp_path / "trainer_state.json"

    assert run_record(tmp_path / "checkpoint-2") is not None
    record = write(tmp_path)
    assert run_record(tmp_path) == record
