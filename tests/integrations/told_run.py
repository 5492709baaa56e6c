"""A run of two processes that reports and notifies; started by torchrun with a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import torch.distributed as dist

from trainguard import TrainGuardCallback
from trainguard.findings import Report

import tiny


def main(folder: Path) -> None:
    def tell(report: Report) -> None:
        with (folder / "told").open("a") as file:
            file.write("".join(f"{cause.code}\n" for cause in report.causes))

    guard = TrainGuardCallback(notify=tell)
    options = {"callbacks": [guard], "max_steps": 5, "ddp_backend": "gloo"}
    model, kind = tiny.lora(tiny.model()), tiny.poisoned(from_step=3)
    tiny.trainer(model, folder, kind, report_to="tensorboard", **options).train()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
