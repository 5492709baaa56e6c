"""A loop over a model in shards (FSDP2, two processes over gloo)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("way", "causes"),
    [("healthy", []), ("nan", [("TG502", 3)]), ("forgotten", [("TG203", None)])],
)
def test_each_rank_judges_what_its_shards_show(
    way: str, causes: list[tuple[str, int | None]]
) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    result = subprocess.run(
        [*command, "--nproc_per_node", "2", str(HERE / "fsdp_run.py"), way],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )

    for rank in (0, 1):
        assert f"rank {rank}: {causes} True" in result.stdout, result.stderr
