"""A run that is killed, started again and killed again ends as one that was left alone."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trainguard.reference.plan import Plan

SMALL = Plan(
    method="rft",
    model="",
    train=32,
    valid=8,
    test=8,
    steps=6,
    save_steps=2,
    samples=4,
    batch_size=4,
)
#: What a run leaves for good; checkpoints, logs and watched steps tell of the starts themselves.
RESULTS = [
    "settings.json",
    "data/train.json",
    "data/valid.json",
    "data/test.json",
    "samples/drawn.jsonl",
    "rft.json",
    "adapter_model.safetensors",
    "adapter_config.json",
    "metrics.json",
    "wrong.txt",
    "curves.svg",
]
#: Each start is a fork of a process that has torch loaded and has computed nothing.
STARTS = multiprocessing.get_context("forkserver")
STARTS.set_forkserver_preload(["trainguard.reference.run", "reference.test_killed"])


def started(plan: Plan, folder: Path, kill_before: int | None = None):
    """A process that runs `plan`; it dies before file operation number `kill_before`."""
    process = STARTS.Process(target=_run, args=(plan, folder, kill_before))
    process.start()
    return process


def _run(plan: Plan, folder: Path, kill_before: int | None) -> None:
    from trainguard.reference.run import run
    from trainguard.reference.terminal import quiet

    if kill_before is not None:
        _die_before(kill_before, folder)
    with quiet(one_thread=True):
        run(plan, folder, folder)


def _die_before(number: int, folder: Path) -> None:
    seen = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event == "open":
            changes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            changes = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
        if changes and str(folder) in str(arguments[0]):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def plan(base_folder: Path) -> Plan:
    return replace(SMALL, model=str(base_folder))


@pytest.fixture(scope="module")
def left_alone(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("alone")
    process = started(plan, folder)
    process.join()
    assert process.exitcode == 0
    return results(folder)


@pytest.mark.parametrize("seed", range(3))
def test_killed_before_any_file_operation(
    plan: Plan, left_alone: dict[str, bytes], tmp_path: Path, seed: int
):
    chosen = random.Random(seed)
    deaths = 0
    while True:
        process = started(plan, tmp_path, kill_before=chosen.randrange(1, 60))
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        deaths += 1
    assert deaths >= 3
    assert results(tmp_path) == left_alone


def test_killed_at_any_time(plan: Plan, left_alone: dict[str, bytes], tmp_path: Path):
    chosen = random.Random(0)
    deaths = 0
    for limit in (0.5, 1, 2, 4, 8, None):
        process = started(plan, tmp_path)
        process.join(None if limit is None else chosen.uniform(limit / 2, limit))
        if process.exitcode is None:
            process.kill()
            process.join()
            deaths += 1
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert deaths >= 1
    assert results(tmp_path) == left_alone
