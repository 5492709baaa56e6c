"""A poisoned run of two processes; started by torchrun from `test_ddp.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from trainguard import TrainGuardCallback

import tiny

if __name__ == "__main__":
    guard = TrainGuardCallback(on_finding=sys.argv[2])
    options = {"callbacks": [guard], "max_steps": 5, "ddp_backend": "gloo"}
    trainer = tiny.trainer(
        tiny.lora(tiny.model()), Path(sys.argv[1]), tiny.poisoned(from_step=3), **options
    )
    trainer.train()
    causes = [(cause.code, cause.location.step) for cause in guard.report.causes]
    print(f"rank {trainer.args.process_index} of {trainer.args.world_size}: {causes}", flush=True)
