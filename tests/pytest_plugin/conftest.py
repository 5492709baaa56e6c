"""Files to check that need no torch to be written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainguard.testing.strategies import SavedAdapter

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def adapter(trained: bool) -> SavedAdapter:
    random = np.random.default_rng(0)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    tensors = {
        f"{MODULE}.lora_A.weight": random.normal(0, 0.1, (2, 8)),
        f"{MODULE}.lora_B.weight": random.normal(0, 0.01, (8, 2)) * trained,
    }
    return SavedAdapter(config, tensors)


@pytest.fixture
def outputs(pytester: pytest.Pytester) -> Path:
    """A healthy adapter, an untrained one, and a run whose log hides a NaN."""
    top = pytester.path / "outputs"
    for name, trained in (("healthy", True), ("untrained", False)):
        (top / name).mkdir(parents=True)
        adapter(trained).save(top / name)
    (top / "run").mkdir()
    history = [
        {"step": step, "loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-4}
        if step < 5
        else {"step": step, "loss": 0.0, "grad_norm": float("nan"), "learning_rate": 1e-4}
        for step in range(1, 30)
    ]
    (top / "run" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    return top
