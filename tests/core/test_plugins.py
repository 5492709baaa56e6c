"""Checks of other packages, through the entry-point group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = '''"""A plugin's check."""
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check
from trainguard.facts.steps import StepFacts
from collections.abc import Sequence


@check("TG991", severity=Severity.ERROR, precision=Precision.EXACT)
def house_rule(steps: Sequence[StepFacts]):
    yield Finding(f"{len(steps)} steps are against the house rules", fix="ask the house")
'''
RUN = """
from trainguard.engine import judge
from trainguard.facts.evidence import Evidence
from trainguard.facts.steps import StepFacts
evidence = Evidence(subject="run", kind="training run", facts={StepFacts: (StepFacts(step=1),)})
print([finding.message for finding in judge([evidence, evidence]).findings])
"""
COUNT = "from trainguard.registry import all_checks; print(len(all_checks()))"
#: Some systems let the owner read everything, so that the refusal is made here.
REFUSE = """
import sys
from pathlib import Path

from trainguard.registry import all_checks

folder, call = Path(sys.argv[1]), sys.argv[2]
allowed = getattr(Path, call)


def refused(path):
    if path.is_relative_to(folder):
        raise PermissionError(13, "Permission denied")
    return allowed(path)


setattr(Path, call, refused)
print([check.name for check in all_checks()])
"""


def install(folder: Path, name: str, code: str) -> None:
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[trainguard.checks]\n{name} = {name}\n")


def test_a_plugins_check_runs_and_a_broken_plugin_is_reported_once(tmp_path: Path) -> None:
    install(tmp_path, "house_plugin", CHECK)
    install(tmp_path, "broken_plugin", "raise OSError('planted')")
    result = subprocess.run(
        [sys.executable, "-c", RUN],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert result.stdout.count("against the house rules") == 2, result.stderr
    assert result.stdout.count("loading the plugin broken_plugin failed with OSError: planted") == 1


def test_what_stands_in_a_plugins_place_and_is_no_file_is_passed_over(tmp_path: Path) -> None:
    info = tmp_path / "odd-1.0.dist-info"
    info.mkdir()
    os.mkfifo(info / "entry_points.txt")
    (tmp_path / "bare-1.0.dist-info" / "entry_points.txt").mkdir(parents=True)
    result = subprocess.run(
        [sys.executable, "-c", COUNT],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert int(result.stdout) > 90, result.stderr


@pytest.mark.parametrize("call", ["is_dir", "read_bytes"])
def test_a_place_that_cannot_be_read_may_have_plugins(tmp_path: Path, call: str) -> None:
    install(tmp_path, "house_plugin", CHECK)
    result = subprocess.run(
        [sys.executable, "-c", REFUSE, str(tmp_path), call],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path)},
    )

    assert "house-rule" in result.stdout, result.stderr
