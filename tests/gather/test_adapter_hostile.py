"""An adapter folder may hold FIFOs, devices, links, pickles and files larger than memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainguard.engine import judge
from trainguard.facts.adapter import AdapterFiles
from trainguard.gather.adapter import adapter_evidence
from trainguard.registry import select

from written import JSON, WEIGHTS, healthy_adapter, problem_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return healthy_adapter(tmp_path)


def test_missing_weights_are_reported(folder: Path) -> None:
    (folder / WEIGHTS).unlink()

    assert problem_of(folder) == (WEIGHTS, "is missing")


def test_a_missing_config_is_reported(folder: Path) -> None:
    (folder / JSON).unlink()

    assert problem_of(folder) == (JSON, "is missing")


def test_pickled_weights_are_followed_and_never_executed(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    flag = folder / "unpickled"
    payload = f"cos\nsystem\n(S'touch {flag}'\ntR.".encode()
    (folder / "adapter_model.bin").write_bytes(payload)

    report = judge([adapter_evidence(folder)], select(["TG1"]))

    # The bare pickle is no file of torch.save either, so TG101 stands beside TG120.
    assert {finding.code for finding in report.findings} == {"TG101", "TG120", "TG122"}
    assert not flag.exists()


def test_a_fifo_does_not_block(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)

    assert problem_of(folder) == (WEIGHTS, "is a FIFO, not a regular file")


def test_a_device_is_not_opened(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("/dev/zero")

    assert problem_of(folder) == (WEIGHTS, "is a device, not a regular file")


def test_a_folder_or_a_socket_is_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()
    assert problem_of(folder) == (WEIGHTS, "is a folder, not a regular file")

    (folder / WEIGHTS).rmdir()
    monkeypatch.chdir(folder)  # a socket's path may have only some hundred characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(WEIGHTS)
        assert problem_of(folder) == (WEIGHTS, "is a socket, not a regular file")


def test_links_as_in_the_hub_cache_are_followed(folder: Path, tmp_path_factory: Any) -> None:
    blobs = tmp_path_factory.mktemp("blobs")
    (folder / WEIGHTS).rename(blobs / "blob")
    (folder / WEIGHTS).symlink_to(blobs / "blob")
    assert not judge([adapter_evidence(folder)], select(["TG1"])).findings

    (blobs / "blob").unlink()
    assert problem_of(folder) == (WEIGHTS, "is a link to a file that does not exist")


def test_a_path_with_a_nul_is_evidence_too() -> None:
    problems = adapter_evidence("a\0b").facts[AdapterFiles].problems

    assert all("cannot be read" in problem.what for problem in problems)


def test_reading_needs_neither_torch_nor_peft_and_numpy_only_for_values(folder: Path) -> None:
    code = (
        "import sys; from trainguard.gather.adapter import adapter_evidence as read\n"
        "before = 'numpy' in sys.modules\n"
        "read(sys.argv[2]); header_only = 'numpy' in sys.modules\n"
        "assert len(read(sys.argv[1]).facts) == 5\n"
        "print(before, header_only, sorted({'torch', 'peft', 'transformers', 'safetensors'}"
        " & sys.modules.keys()))"
    )
    broken = folder / "broken"
    broken.mkdir()
    (broken / WEIGHTS).write_bytes(b"PK\x03\x04")

    command = [sys.executable, "-c", code, str(folder), str(broken)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)

    assert result.stdout.split(maxsplit=2) == ["False", "False", "[]\n"]


def test_a_tensor_is_never_held_in_memory(tmp_path: Path) -> None:
    """A sparse file of 512 MiB is read under an address-space limit far below its size."""
    count = 1 << 27
    header = json.dumps({"x": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}})
    with (tmp_path / WEIGHTS).open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(8 + len(header) + 4 * count)
    code = (
        "import resource, sys, numpy; from trainguard.gather.adapter import *\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)\n"
        "facts = adapter_evidence(sys.argv[1]).facts\n"
        "print(facts[AdapterTensors].tensors[0].constant)"
    )

    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "0.0"


@pytest.mark.parametrize("name", [JSON, WEIGHTS])
def test_text_that_spells_more_values_than_memory_should_hold_is_refused(
    name: str, folder: Path
) -> None:
    text = b'{"x": [' + b"[]," * 2_500_000 + b"[]]}"
    content = text if name == JSON else len(text).to_bytes(8, "little") + text
    (folder / name).write_bytes(content)
    code = (
        "import resource, sys; from trainguard.gather.adapter import *\n"
        "resource.setrlimit(resource.RLIMIT_AS, (256 << 20,) * 2)\n"
        "print(list(adapter_evidence(sys.argv[1]).absent.values()))"
    )

    command = [sys.executable, "-c", code, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "more than 4000000 are not read" in result.stdout
