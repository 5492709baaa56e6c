"""`trainguard check .` at the root of the story's project: each fault once, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from quality import story
from trainguard import check
from trainguard.cli import main


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story")
    story.build(folder)
    return folder


def test_each_fault_is_listed_once_and_nothing_else(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)

    report = check()

    found = sorted((one.code, Path(one.subject).name) for one in report.causes)
    assert found == sorted(story.FAULTS.values())


def test_the_command_prints_them_and_fails(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    result = CliRunner().invoke(main, ["check", "."])

    assert result.exit_code == 1
    for code, _ in story.FAULTS.values():
        assert result.output.count(f"error[{code}]") == 1
    assert result.output.count("error[") == len(story.FAULTS)
