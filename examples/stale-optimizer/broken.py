"""An optimizer that was built before the adapter: it steps the frozen weights and nothing else."""

from __future__ import annotations

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from trainguard import Report, watch

TINY = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
)


def train() -> Report:
    torch.manual_seed(0)
    model = LlamaForCausalLM(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"]))
    with watch(model, optimizer) as guard:
        for _ in range(12):
            ids = torch.randint(4, 64, (4, 16))
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return guard.report


if __name__ == "__main__":
    report = train()
    print([cause.code for cause in report.causes])
    sys.exit(report.exit_code)
