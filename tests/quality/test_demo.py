"""The main job end to end: sabotaged trainings, one cause each, and a quiet healthy twin."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainguard import check
from trainguard.findings import Report, Severity


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("work") / "demo"
    command = [sys.executable, "-m", "trainguard", "demo", "--folder", str(folder)]
    return folder, subprocess.run(command, capture_output=True, text=True, check=False)


def causes(report: Report) -> list[str]:
    return [cause.code for cause in report.causes if cause.severity is Severity.ERROR]


def test_the_demo_diagnoses_every_run_as_it_should(demo) -> None:
    _, result = demo

    assert result.returncode == 0, result.stdout + result.stderr
    assert "NOT AS EXPECTED" not in result.stdout


def test_its_user_sees_the_misleading_logs_and_scores(demo) -> None:
    _, result = demo

    assert re.search(r"'loss': '0', 'grad_norm': 'nan'", result.stdout)
    assert re.search(r"'loss': '0\.\d+', 'grad_norm': '0'", result.stdout)
    assert "accuracy=1.00 [0.96, 1.00] answer_rate=1.00" in result.stdout


def test_each_sabotage_has_exactly_one_cause_and_the_healthy_runs_have_none(demo) -> None:
    folder, result = demo
    told = re.findall(r"^error\[(TG\d+)\]", result.stdout, re.MULTILINE)

    assert causes(check(folder / "frozen-adapter")) == ["TG201"]
    assert causes(check(folder / "hidden-nan")) == ["TG501"]
    assert causes(check(folder / "healthy")) == causes(check(folder / "first-stage")) == []
    # The runs one by one, then the two that left files in the closing `trainguard check`.
    assert told == ["TG201", "TG501", "TG601", "TG201", "TG501"]


def test_the_healthy_run_learned(demo) -> None:
    _, result = demo
    before, after = re.findall(r"training: +accuracy=([\d.]+)", result.stdout)

    assert float(before) < 0.1
    assert float(after) > 0.1
