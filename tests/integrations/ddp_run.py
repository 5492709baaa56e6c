"""A run of two processes; started by torchrun from `test_ddp.py` with a folder and a way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from trainguard import TrainGuardCallback

import tiny


class Drifting(TrainerCallback):
    """One rank moves one weight by a millionth after the third step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        if state.global_step == 2 and args.process_index == 1:
            with torch.no_grad():
                dict(model.named_parameters())["lm_head.weight"][0, 0] += 1e-6


def main(folder: Path, way: str) -> None:
    guard = TrainGuardCallback(on_finding="stop" if way == "stop" else "warn")
    options: dict[str, Any] = {"callbacks": [guard], "max_steps": 5, "ddp_backend": "gloo"}
    kind: type[Trainer] = Trainer
    model: Any = tiny.model()
    if way in ("warn", "stop"):
        kind, model = tiny.poisoned(from_step=3), tiny.lora(model)
    elif way == "drift":
        options["callbacks"].append(Drifting())
    trainer = tiny.trainer(model, folder, kind, **options)
    if way == "alone":  # the model is never wrapped, so that no gradient is shared
        trainer.accelerator.prepare_model = lambda model, *_, **__: model
    trainer.train()
    causes = [(cause.code, cause.location.step) for cause in guard.report.causes]
    print(f"rank {trainer.args.process_index} of {trainer.args.world_size}: {causes}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
