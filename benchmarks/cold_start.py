"""CPU time of `trainguard check` on a small adapter, as a ratio to `python -c "import numpy"`.

Both are measured in turn, in fresh processes, in one run; the ratio of the medians is printed.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 15


def write_adapter(folder: Path) -> None:
    """A healthy LoRA adapter of 16 modules, rank 8, written without torch."""
    import numpy as np

    rng = np.random.default_rng(0)
    header, chunks, offset = {}, [], 0
    for layer in range(16):
        for part, shape in (("lora_A", (8, 256)), ("lora_B", (256, 8))):
            data = rng.normal(0, 0.02, shape).astype("<f4").tobytes()
            name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.{part}.weight"
            place = [offset, offset + len(data)]
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": place}
            chunks.append(data)
            offset += len(data)
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(chunks)
    )
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    config |= {"task_type": "CAUSAL_LM", "inference_mode": True}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_adapter(Path(folder))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import numpy": [sys.executable, "-c", "import numpy"],
            "trainguard check": [sys.executable, "-m", "trainguard", "check", folder],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(cpu_seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:<18} {median * 1000:6.0f} ms CPU, median of {ROUNDS}")
    ratio = medians["trainguard check"] / medians["import numpy"]
    print(f"trainguard check / import numpy: {ratio:.2f}")


if __name__ == "__main__":
    main()
