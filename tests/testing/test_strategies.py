"""Strategies: what is drawn healthy has no finding, and what has a fault is found by its name."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainguard
from trainguard import Report
from trainguard.testing import strategies
from trainguard.testing.labels import _looked_at

import tiny

TOKENIZER = tiny.tokenizer()


def report_of(saved: Any) -> Report:
    with TemporaryDirectory() as folder:
        return trainguard.check(saved.save(folder))


def names(report: Report) -> set[str]:
    return {finding.name for finding in report.findings}


@given(strategies.adapters())
def test_a_healthy_adapter_has_no_finding(adapter: strategies.SavedAdapter) -> None:
    report = report_of(adapter)
    assert report.findings == ()
    assert "TG105" in report.checked


@given(st.sampled_from(strategies.ADAPTER_FAULTS).flatmap(lambda f: strategies.adapters(fault=f)))
def test_a_fault_of_an_adapter_is_found(adapter: strategies.SavedAdapter) -> None:
    assert adapter.fault in names(report_of(adapter))


@settings(max_examples=20, deadline=None)
@given(strategies.adapters())
def test_the_files_are_those_of_safetensors_and_peft(adapter: strategies.SavedAdapter) -> None:
    from peft import LoraConfig
    from safetensors.numpy import load_file

    with TemporaryDirectory() as folder:
        adapter.save(folder)
        loaded = load_file(f"{folder}/adapter_model.safetensors")
        config = LoraConfig.from_pretrained(folder)
    assert set(loaded) == set(adapter.tensors)
    assert all(np.array_equal(loaded[name], one) for name, one in adapter.tensors.items())
    assert (config.r, config.target_modules) == (
        adapter.config["r"],
        set(adapter.config["target_modules"]),
    )


@given(strategies.training_logs())
def test_a_healthy_log_has_no_finding(log: strategies.TrainingLog) -> None:
    report = report_of(log)
    assert report.findings == ()
    assert "TG503" in report.checked


@given(st.sampled_from(strategies.LOG_FAULTS).flatmap(lambda f: strategies.training_logs(fault=f)))
def test_a_fault_of_a_log_is_found(log: strategies.TrainingLog) -> None:
    assert log.fault in names(report_of(log))


@given(strategies.batches())
def test_a_healthy_batch_has_no_finding(batch: dict[str, Any]) -> None:
    _, report = _looked_at(batch, TOKENIZER)
    assert report.findings == ()
    assert {"TG301", "TG302", "TG303", "TG304", "TG305", "TG306"} <= set(report.checked)


@given(
    st.sampled_from(strategies.BATCH_FAULTS).flatmap(
        lambda fault: st.tuples(st.just(fault), strategies.batches(fault=fault, numpy=True))
    )
)
def test_a_fault_of_a_batch_is_found(drawn: tuple[str, dict[str, Any]]) -> None:
    fault, batch = drawn
    _, report = _looked_at(batch, TOKENIZER)
    assert fault in names(report)


@given(strategies.batches(side="left", masked_prompt=False, eos=False, vocabulary=16))
def test_the_options_of_a_batch_hold(batch: dict[str, Any]) -> None:
    for row, mask, labels in zip(*batch.values(), strict=True):
        assert mask == sorted(mask)
        assert max(row) < 16
        assert 2 not in row
        assert [label for label in labels if label != -100] == row[mask.index(1) :]


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
@pytest.mark.parametrize(
    "strategy", [strategies.adapters, strategies.batches, strategies.training_logs]
)
def test_an_unknown_fault_is_named(strategy: Any) -> None:
    with pytest.raises(ValueError, match="no fault is called 'untrained'; there are"):
        strategy(fault="untrained").example()
