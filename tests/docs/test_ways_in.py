"""The pre-commit hooks and the GitHub Action: their commands and options are real ones."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainguard import check
from trainguard.cli import main
from trainguard.gather.data_names import may_be_data
from trainguard.gather.source_files import may_be_source

ROOT = Path(__file__).parents[2]
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
CHECK = main.commands["check"]
BROKEN = ROOT / "examples" / "step-order" / "broken.py"


def options() -> set[str]:
    return {word for parameter in CHECK.params for word in parameter.opts}


def matches(hook: dict[str, Any], path: str) -> bool:
    return bool(re.search(hook["files"], path)) and not re.search(hook["exclude"], path)


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_the_entry_of_a_hook_is_a_command_with_its_options(hook: dict[str, Any]) -> None:
    program, command, *rest = shlex.split(hook["entry"])

    assert (program, command) == ("trainguard", "check")
    CHECK.make_parser(CHECK.make_context("check", [])).parse_args([*rest, *hook.get("args", [])])


@pytest.mark.parametrize(
    ("path", "is_checked"),
    [
        ("train.py", True),
        ("notebooks/sft.ipynb", True),
        ("out/adapter_config.json", True),
        ("package.json", False),
        ("tests/conftest.py", False),
        ("test_train.py", False),
        ("src/train_test.py", False),
    ],
)
def test_the_source_hook_takes_what_the_walk_takes(
    path: str, is_checked: bool, tmp_path: Path
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()

    assert matches(HOOKS["trainguard"], path) is is_checked
    if file.suffix != ".json":
        assert may_be_source(file, tmp_path) is is_checked


@pytest.mark.parametrize(
    "path",
    [
        *("data/train.json", "valid.jsonl", "my_train.csv", "test-00000-of-00002.parquet"),
        *("latest.json", "package.json", "test_results.json", "eval_metrics.json", "train.py"),
        *("tests/train.json", "training_args.json", "data/contest.json", "dev.tsv"),
    ],
)
def test_the_data_hook_runs_only_for_what_is_data(path: str, tmp_path: Path) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()

    assert matches(HOOKS["trainguard-data"], path) is may_be_data(file)


def test_the_hooks_install_the_core_alone() -> None:
    assert not any("additional_dependencies" in hook for hook in HOOKS.values())
    assert {hook["language"] for hook in HOOKS.values()} == {"python"}


def test_every_input_of_the_action_is_used_and_every_option_exists() -> None:
    steps = ACTION["runs"]["steps"]
    used = {name for step in steps for name in re.findall(r"inputs\.([\w-]+)", str(step["env"]))}
    script = steps[1]["run"]

    assert used == set(ACTION["inputs"])
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", script)) <= options()
    for step in steps:
        assert "${{" not in step["run"], "an input in the script would be run by the shell"


def test_the_inputs_name_the_choices_of_the_command() -> None:
    fail_on = next(p for p in CHECK.params if "--fail-on" in p.opts)

    for word in fail_on.type.choices:  # type: ignore[attr-defined]
        assert word in ACTION["inputs"]["fail-on"]["description"]


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """The variables that a runner sets, with trainguard where the first step installs it."""
    program = tmp_path / "trainguard" / "bin" / "trainguard"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m trainguard "$@"\n')
    program.chmod(0o755)
    (tmp_path / "broken.py").write_text(BROKEN.read_text())
    given = {
        name: ACTION["inputs"][re.search(r"inputs\.([\w-]+)", value)[1]]["default"]  # type: ignore[index]
        for name, value in ACTION["runs"]["steps"][1]["env"].items()
    }
    return {
        **os.environ,
        **given,
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }


def run_action(variables: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-eo", "pipefail", "-c", ACTION["runs"]["steps"][1]["run"]]
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


def test_the_action_annotates_summarises_and_fails(runner: dict[str, str], tmp_path: Path) -> None:
    result = run_action({**runner, "PATHS": "broken.py"}, tmp_path)

    assert result.returncode == 1, result.stderr
    assert result.stdout.startswith("::error ")
    assert "TG810" in (tmp_path / "summary").read_text()
    assert '"TG810"' in (tmp_path / "trainguard.sarif").read_text()
    assert "exit-code=1" in (tmp_path / "output").read_text().splitlines()


def test_the_inputs_of_the_action_reach_the_command(runner: dict[str, str], tmp_path: Path) -> None:
    chosen = {"PATHS": "broken.py", "FAIL_ON": "never", "SELECT": "TG8", "IGNORE": "TG809"}
    result = run_action({**runner, **chosen}, tmp_path)
    hostile = run_action({**runner, "PATHS": "$(touch owned) ; `touch owned`"}, tmp_path)

    assert result.returncode == 0, result.stderr
    assert hostile.returncode == 2
    assert not (tmp_path / "owned").exists()


def test_the_example_that_the_action_checks_really_has_its_fault() -> None:
    assert [cause.code for cause in check(BROKEN).causes] == ["TG810"]
