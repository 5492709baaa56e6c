"""The callback in a run of two processes (DistributedDataParallel over gloo)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(folder: Path, reaction: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc_per_node", "2", str(HERE / "ddp_run.py"), str(folder), reaction],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )


def test_both_ranks_find_the_cause_and_one_speaks_and_writes(tmp_path: Path) -> None:
    result = run(tmp_path, "warn")

    assert "rank 0 of 2: [('TG501', 3)]" in result.stdout, result.stderr
    assert "rank 1 of 2: [('TG501', 3)]" in result.stdout
    assert result.stderr.count("error[TG501]") == 1
    lines = (tmp_path / "trainguard" / "steps.jsonl").read_text().splitlines()
    assert sum('"kind": "step"' in line for line in lines) == 5


def test_a_stop_does_not_leave_the_other_rank_waiting(tmp_path: Path) -> None:
    result = run(tmp_path, "stop")

    assert result.returncode != 0
    assert "TrainGuardError" in result.stderr
    assert "rank" not in result.stdout


def test_ranks_that_stay_equal_are_no_finding(tmp_path: Path) -> None:
    result = run(tmp_path, "healthy")

    assert "rank 0 of 2: []" in result.stdout, result.stderr
    lines = (tmp_path / "trainguard" / "steps.jsonl").read_text().splitlines()
    assert sum('"ranks_apart_tensors": 0' in line for line in lines) == 5


def test_a_rank_that_drifts_is_named_at_the_step_with_the_tensor(tmp_path: Path) -> None:
    result = run(tmp_path, "drift")

    assert "rank 0 of 2: [('TG901', 3)]" in result.stdout, result.stderr
    assert "lm_head.weight" in result.stderr


def test_ranks_that_share_no_gradients_are_named_at_the_first_step(tmp_path: Path) -> None:
    result = run(tmp_path, "alone")

    assert "rank 0 of 2: [('TG901', 1)]" in result.stdout, result.stderr
