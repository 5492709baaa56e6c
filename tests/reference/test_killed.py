"""A run that is killed, started again and killed again ends as one that was left alone."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from trainguard.cli import main
from trainguard.reference.plan import Plan

SMALL = Plan(model="", train=32, valid=8, test=8, steps=6, save_steps=2, samples=4, batch_size=4)
#: What a run leaves for good; checkpoints, logs and watched steps tell of the starts themselves.
RESULTS = [
    "settings.json",
    "data/train.json",
    "data/valid.json",
    "data/test.json",
    "adapter_model.safetensors",
    "adapter_config.json",
    "metrics.json",
    "wrong.txt",
    "curves.svg",
]
RESULTS_OF_RFT = [*RESULTS, "samples/drawn.jsonl", "rft.json"]
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
#: Each start is a fork of a process that has torch loaded and has computed nothing.
STARTS = multiprocessing.get_context("forkserver")
STARTS.set_forkserver_preload(["trainguard.reference.run", "reference.test_killed"])


def started(work: Callable[..., None], folder: Path, *arguments: Any, kill_before: int = 0) -> Any:
    """A process that does `work`; it dies before file operation number `kill_before`, if any."""
    process = STARTS.Process(target=_mortal, args=(kill_before, work, folder, *arguments))
    process.start()
    return process


def _mortal(kill_before: int, work: Callable[..., None], folder: Path, *arguments: Any) -> None:
    seen = 0

    def watch(event: str, details: tuple) -> None:
        nonlocal seen
        writes = event == "open" and (details[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in CHANGES) and _is_of_the_run(str(details[0]), folder):
            seen += 1
            if seen == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    work(folder, *arguments)


def _is_of_the_run(path: str, folder: Path) -> bool:
    """TensorBoard opens its log dozens of times, and nothing reads it."""
    return str(folder) in path and f"{folder}/runs" not in path


def training(folder: Path, plan: Plan) -> None:
    from trainguard.reference.run import run
    from trainguard.reference.terminal import quiet

    with quiet(one_thread=True):
        run(plan, folder, folder)


def generating(folder: Path) -> None:
    main(["datagen", str(folder), "--train", "40", "--valid", "8", "--test", "8"])


def contents(folder: Path, names: list[str]) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def left_alone(base_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """Plan and results of a run that nobody kills, for each method."""

    @cache
    def run(method: str, names: tuple[str, ...]) -> tuple[Plan, dict[str, bytes]]:
        plan = replace(SMALL, model=str(base_folder), method=method)
        folder = tmp_path_factory.mktemp("alone")
        process = started(training, folder, plan)
        process.join()
        assert process.exitcode == 0
        return plan, contents(folder, names)

    return run


@pytest.mark.parametrize("seed", range(2))
def test_training_is_killed_before_any_file_operation(left_alone, tmp_path: Path, seed: int):
    plan, expected = left_alone("sft", tuple(RESULTS))
    chosen = random.Random(seed)
    deaths = 0
    while True:
        process = started(training, tmp_path, plan, kill_before=chosen.randrange(1, 60))
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        deaths += 1
    assert deaths >= 2
    assert contents(tmp_path, RESULTS) == expected


def test_sampling_and_training_are_killed_at_any_time(left_alone, tmp_path: Path):
    plan, expected = left_alone("rft", tuple(RESULTS_OF_RFT))
    chosen = random.Random(0)
    deaths = 0
    for seconds in (0.5, 1, 2, 4, 8, None):
        process = started(training, tmp_path, plan)
        process.join(seconds and chosen.uniform(seconds / 2, seconds))
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        deaths += 1
    assert process.exitcode == 0
    assert deaths >= 1
    assert contents(tmp_path, RESULTS_OF_RFT) == expected


def test_datagen_is_killed_before_each_file_operation(tmp_path: Path):
    expected: dict[str, bytes] = {}
    for number in count():  # 0: nobody kills it
        folder = tmp_path / str(number)
        process = started(generating, folder, kill_before=number)
        process.join()
        survived = process.exitcode == 0
        if not survived:
            assert process.exitcode == -signal.SIGKILL
            assert {path.suffix for path in folder.glob("[!.]*")} <= {".json"}
            for path in folder.glob("*.json"):
                assert path.read_bytes() == expected[path.name]
            again = started(generating, folder)
            again.join()
            assert again.exitcode == 0
        left = contents(folder, sorted(path.name for path in folder.iterdir()))
        expected = expected or left
        assert left == expected
        if number and survived:
            break
    assert sorted(expected) == ["test.json", "train.json", "valid.json"]
    assert number > 6  # a folder, and three files that are written and renamed
