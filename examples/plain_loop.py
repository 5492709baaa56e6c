"""A watched plain PyTorch loop whose optimizer was built before the model was replaced.

The loop as it stands would run to its end with a healthy loss, gradient norm and learning rate,
and train nothing. `--fixed` builds the optimizer last.

    python examples/plain_loop.py [--fixed]
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from trainguard import watch


def main(fixed: bool) -> int:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model[2] = nn.Linear(32, 1)
    if fixed:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    with watch(model, optimizer) as guard:
        for _ in range(20):
            inputs = torch.randn(16, 8)
            loss = nn.functional.mse_loss(model(inputs), inputs.sum(1, keepdim=True))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    print([cause.code for cause in guard.report.causes])
    return guard.report.exit_code


if __name__ == "__main__":
    sys.exit(main(fixed="--fixed" in sys.argv[1:]))
