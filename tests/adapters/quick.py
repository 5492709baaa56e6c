"""Small adapters that need no training: each tensor that would train is moved by noise."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import torch
from peft import get_peft_model

from .bases import LLAMA


def lora(**options: Any) -> peft.LoraConfig:
    return peft.LoraConfig(**{"target_modules": ["q_proj", "v_proj"], "r": 4} | options)


def save(folder: Path, config: peft.PeftConfig | None = None) -> None:
    """Save an adapter of a Llama whose tensors have all moved."""
    model = get_peft_model(LLAMA(), copy.deepcopy(config or lora()))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(8)[None]).logits
