"""Trainers whose losses look odd by design: no finding on their healthy runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiny_trl import dpo, grpo, reward
from trainguard import TrainGuardCallback

import tiny


@pytest.mark.parametrize("build", [dpo, grpo, reward], ids=lambda build: build.__name__)
def test_a_healthy_run_has_no_finding(build: Any, tmp_path: Path) -> None:
    guard = TrainGuardCallback()
    build(tmp_path, processing_class=tiny.tokenizer(), callbacks=[guard]).train()

    assert [finding.message for finding in guard.report.findings] == []
    assert {"TG402", "TG403", "TG502", "TG503"} <= set(guard.report.checked)
