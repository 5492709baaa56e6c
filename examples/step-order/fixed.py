"""A loop that clears the gradients once the optimizer has used them."""

from __future__ import annotations

import sys

import torch
from torch import nn

from trainguard import Report, watch


def train() -> Report:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with watch(model, optimizer) as guard:
        for _ in range(20):
            inputs = torch.randn(16, 8)
            loss = nn.functional.mse_loss(model(inputs), inputs.sum(1, keepdim=True))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return guard.report


if __name__ == "__main__":
    report = train()
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
