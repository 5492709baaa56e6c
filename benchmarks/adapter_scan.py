"""Reading a large bf16 adapter: bytes per CPU second, as ratios to what others need for it.

All figures come from one run over one file in the page cache, one thread each: a plain sequential
read, trainguard's statistics, and safetensors with torch's `isfinite` where they are installed.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 3
TENSORS = 64

READ = """
buffer = memoryview(bytearray(512 * 1024))
with open(path, "rb", buffering=0) as file:
    start = time.thread_time()
    while file.readinto(buffer):
        pass
"""
SCAN = """
from trainguard.gather.adapter import adapter_evidence
import trainguard.gather.safetensors_values
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


def write_adapter(folder: Path, size: int) -> Path:
    """A rank-8 LoRA adapter of about `size` bytes in bf16, values of a trained one."""
    import numpy as np

    elements = size // 2 // TENSORS // 8
    values = np.random.default_rng(0).normal(0, 0.02, (8, elements)).astype("<f4")
    data = (values.view("<u4") >> 16).astype("<u2").tobytes()
    header = {}
    for number in range(TENSORS):
        part, shape = ("A", [8, elements]) if number % 2 == 0 else ("B", [elements, 8])
        name = f"base_model.model.layers.{number // 2}.q_proj.lora_{part}.weight"
        place = [number * len(data), (number + 1) * len(data)]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": place}
    text = json.dumps(header).encode()
    path = folder / "adapter_model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(TENSORS):
            file.write(data)
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return path


def measure(program: str, path: Path) -> tuple[float, float]:
    """CPU seconds of the program's timed part, best of a few, and peak memory in MiB."""
    code = f"import os, resource, time\npath = {str(path)!r}\n{program}\n" + (
        "print(time.thread_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    results = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        seconds, memory = done.stdout.split()
        results.append((float(seconds), float(memory) / 1024))
    return min(results)


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as folder:
        path = write_adapter(Path(folder), int(gigabytes * 1e9))
        size = path.stat().st_size / 1e9
        plain, _ = measure(READ, path)
        own, memory = measure(SCAN, path)
        print(f"{size:.2f} GB bf16   plain read {size / plain:6.2f} GB/s of CPU time")
        print(f"trainguard     {size / own:6.2f} GB/s, {plain / own:.2f} of the plain read")
        try:
            torch, _ = measure(TORCH, path)
            print(f"torch          {size / torch:6.2f} GB/s, {torch / own:.1f} times slower")
        except subprocess.CalledProcessError:
            print("torch          not installed")
        with tempfile.TemporaryDirectory() as small:
            _, little = measure(SCAN, write_adapter(Path(small), int(gigabytes * 1e8)))
        print(f"peak memory    {memory:.0f} MiB, {little:.0f} MiB for a tenth of the size")


if __name__ == "__main__":
    main()
