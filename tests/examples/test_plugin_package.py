"""The example package is built, installed beside trainguard, and its check is found and runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "examples" / "plugin-package"
STEPS = '{"kind": "step", "step": 1, "loss": 2.3, "supervised_tokens": 3}\n'


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = str(tmp_path_factory.mktemp("installed"))
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    built = run("pip", "install", *offline, "--target", target, str(PACKAGE))
    assert built.returncode == 0, built.stderr
    return target


def test_the_check_is_listed_and_explained_only_where_it_is_installed(installed: str) -> None:
    assert "few-supervised-tokens" not in run("trainguard", "checks").stdout
    assert (
        "TG390  few-supervised-tokens" in run("trainguard", "checks", PYTHONPATH=installed).stdout
    )
    assert "# TG390" in run("trainguard", "explain", "TG390", PYTHONPATH=installed).stdout


def test_the_check_judges_a_run(installed: str, tmp_path: Path) -> None:
    record = tmp_path / "run" / "trainguard" / "steps.jsonl"
    record.parent.mkdir(parents=True)
    record.write_text(STEPS)

    result = run("trainguard", "check", str(tmp_path), "--select", "TG390", PYTHONPATH=installed)

    assert "few-supervised-tokens: the median step trains on 3 tokens" in result.stdout


def test_the_packages_own_tests_pass(installed: str) -> None:
    tests = ["-q", "-p", "no:cacheprovider", "--rootdir", str(PACKAGE), str(PACKAGE / "tests")]
    result = run("pytest", *tests, PYTHONPATH=installed)

    assert "5 passed" in result.stdout, result.stdout
