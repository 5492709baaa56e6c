"""Reading an adapter: speed on a large one, start-up on a small one, memory on both.

All ratios come from one run and one thread each, in fresh processes, best of a few;
start-up is measured in turn with what it is compared with, and medians are taken. The large file
lies in the page cache. What is not installed (torch, peft) is left out and named.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROUNDS = 5
TENSORS = 64
MODULE = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"

READ = """
buffer = memoryview(bytearray(512 * 1024))
with open(path, "rb", buffering=0) as file:
    start = time.thread_time()
    while file.readinto(buffer):
        pass
"""
SCAN = """
import trainguard.gather.values_numpy
from trainguard.gather.adapter import adapter_evidence
start = time.thread_time()
adapter_evidence(os.path.dirname(path))
"""
TORCH = """
import torch
from safetensors.torch import load_file
torch.set_num_threads(1)
start = time.thread_time()
assert all(tensor.isfinite().all() for tensor in load_file(path).values())
"""
#: Whole processes, from their first instruction to their last.
PYTHON = "start = 0"
CHECK = """
start = 0
import contextlib, io, sys
from trainguard.cli import main
sys.argv = ["trainguard", "check", os.path.dirname(path)]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
#: The kernel's own high-water mark: that of getrusage counts the process that forked, too.
STOP = """
now = time.process_time() if start == 0 else time.thread_time()
with open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(now - start, peak)
"""


@dataclass(frozen=True)
class Cost:
    """What a program took."""

    seconds: float
    """CPU time, of the whole process or of its timed part."""
    memory: float
    """Peak resident memory in MiB."""


def write_adapter(folder: Path, size: int) -> Path:
    """A rank-8 LoRA adapter of about `size` bytes in bf16, values of a trained one."""
    import numpy as np

    elements = size // 2 // TENSORS // 8
    values = np.random.default_rng(0).normal(0, 0.02, (8, elements)).astype("<f4")
    data = (values.view("<u4") >> 16).astype("<u2").tobytes()
    header = {}
    for number in range(TENSORS):
        part, shape = ("A", [8, elements]) if number % 2 == 0 else ("B", [elements, 8])
        place = [number * len(data), (number + 1) * len(data)]
        name = MODULE.format(number // 2, part)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": place}
    text = json.dumps(header).encode()
    path = folder / "adapter_model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(TENSORS):
            file.write(data)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16}
    config |= {"target_modules": ["q_proj"], "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    return path


def cost(program: str, path: Path) -> Cost:
    """The least CPU time of a few runs of a program over a file, and that run's peak memory.

    Raises:
        subprocess.CalledProcessError: the program failed, as without the library that it imports.
    """
    return min((run_once(program, path) for _ in range(ROUNDS)), key=lambda cost: cost.seconds)


def run_once(program: str, path: Path) -> Cost:
    """What one process that runs the program over the file took."""
    code = f"import os, time\npath = {str(path)!r}\n{program}\n{STOP}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    seconds, memory = map(float, done.stdout.split())
    return Cost(seconds, memory / 1024)


def show_speed(path: Path) -> None:
    size = path.stat().st_size / 1e9
    print(f"(a) {size:.2f} GB in bf16, from the page cache")
    plain, own = cost(READ, path).seconds, cost(SCAN, path).seconds
    print(f"    plain read        {size / plain:6.2f} GB/s of CPU time")
    print(f"    trainguard        {size / own:6.2f} GB/s, {plain / own:.2f} of the plain read")
    try:
        torch = cost(TORCH, path).seconds
        print(f"    torch isfinite    {size / torch:6.2f} GB/s, {torch / own:.1f} times slower")
    except subprocess.CalledProcessError:
        print("    torch isfinite    not installed")


def show_start(path: Path) -> None:
    size = path.stat().st_size / 1e6
    programs = {"python alone": PYTHON, "trainguard check": CHECK} | {
        f"import {library}": f"start = 0\nimport {library}"
        for library in ("numpy", "peft")
        if find_spec(library)
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):  # in turn, so that other load on the machine meets all of them
        for name, program in programs.items():
            taken[name].append(run_once(program, path).seconds)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    own = medians["trainguard check"]
    print(f"(b) {size:.2f} MB, CPU time of the whole process, medians")
    for name, seconds in medians.items():
        print(f"    {name:<17} {seconds * 1e3:6.0f} ms, {own / seconds:.2f} by the check")


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as folder:
        show_speed(write_adapter(Path(folder), int(gigabytes * 1e9)))
    for size in (250_000, 25_000_000):
        with tempfile.TemporaryDirectory() as folder:
            show_start(write_adapter(Path(folder), size))
    print("(c) peak memory")
    for size in (100_000_000, int(2 * gigabytes * 1e9)):
        with tempfile.TemporaryDirectory() as folder:
            memory = cost(CHECK, write_adapter(Path(folder), size)).memory
            print(f"    {size / 1e6:6.0f} MB         {memory:6.0f} MiB")


if __name__ == "__main__":
    main()
