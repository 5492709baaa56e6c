"""The examples run, and say what their text says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_trainer_example_is_clean(tmp_path: Path) -> None:
    result = run("trainer.py", str(tmp_path))

    assert result.returncode == 0, result.stderr
    assert "accuracy=" in result.stdout


def test_the_plain_loop_is_broken_and_its_fixed_twin_is_not() -> None:
    broken, fixed = run("plain_loop.py"), run("plain_loop.py", "--fixed")

    assert (broken.returncode, broken.stdout.strip()) == (1, "['TG203']")
    assert "TG203" in broken.stderr
    assert (fixed.returncode, fixed.stdout.strip()) == (0, "[]")
    assert fixed.stderr == ""
