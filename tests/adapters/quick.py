"""Small adapters that need no training: each tensor that would train is moved by noise."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import torch
from peft import get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()


def mixtral() -> Any:
    torch.manual_seed(0)
    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4)).eval()


def lora(**options: Any) -> peft.LoraConfig:
    return peft.LoraConfig(**{"target_modules": ["q_proj", "v_proj"], "r": 4} | options)


def save(folder: Path, config: peft.PeftConfig | None = None) -> None:
    """Save an adapter of a Llama whose tensors have all moved."""
    model = get_peft_model(llama(), copy.deepcopy(config or lora()))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(8)[None]).logits
