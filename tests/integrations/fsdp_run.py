"""A plain loop over a model in shards (FSDP2), of two processes; started by torchrun."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from trainguard import watch

import tiny


def sharded(base: Any) -> Any:
    mesh = init_device_mesh("cpu", (2,))
    for layer in base.model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(base, mesh=mesh)


def main(way: str) -> None:
    dist.init_process_group("gloo")
    model = sharded(tiny.model())
    trained = [p for name, p in model.named_parameters() if way != "forgotten" or "lm_head" in name]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    rows = torch.tensor(tiny.rows(4, seed=dist.get_rank())["input_ids"])
    with watch(model, optimizer) as guard:
        for step in range(1, 6):
            loss = model(input_ids=rows, labels=rows).loss
            if way == "nan" and step == 3:
                loss = loss * float("nan")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    causes = [(cause.code, cause.location.step) for cause in guard.report.causes]
    checked = {"TG401", "TG403", "TG404"} <= set(guard.report.checked)
    print(f"rank {dist.get_rank()}: {causes} {checked}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
