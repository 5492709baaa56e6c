"""A small adapter written by hand, to be damaged, and the fault that is then found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from trainguard.engine import judge
from trainguard.gather.adapter import adapter_evidence
from trainguard.registry import select

CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
WEIGHTS = "adapter_model.safetensors"
JSON = "adapter_config.json"


def healthy_adapter(folder: Path) -> Path:
    """A trained LoRA adapter of one module."""
    (folder / JSON).write_text(json.dumps(CONFIG, indent=2))
    tensors = {
        f"{MODULE}.lora_A.weight": np.full((2, 8), 0.5, np.float32),
        f"{MODULE}.lora_B.weight": np.full((8, 2), 0.25, np.float32),
    }
    save_file(tensors, folder / WEIGHTS)
    return folder


def problem_of(folder: Path) -> tuple[str, str]:
    """File and fault of the one finding that the folder gives."""
    report = judge([adapter_evidence(folder)], select(["TG1"]))
    assert [finding.code for finding in report.findings] == ["TG101"]
    evidence = report.findings[0].evidence
    return evidence["file"], evidence["problem"]
