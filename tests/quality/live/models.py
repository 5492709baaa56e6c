"""Small models of several architectures, built from configs."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertForSequenceClassification,
    GemmaConfig,
    GPT2Config,
    LlamaForSequenceClassification,
    MixtralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3MoeConfig,
    set_seed,
)

import tiny

TOKENS = {
    "vocab_size": tiny.VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
DECODER = {**TOKENS, **SIZES, "num_key_value_heads": 4}
EXPERTS = {"num_experts_per_tok": 2, "router_aux_loss_coef": 0.01, "output_router_logits": True}


def llama() -> Any:
    """Grouped projections, no bias, an output layer of its own."""
    return tiny.model()


def tied_llama() -> Any:
    """The same with one matrix for the embedding and the output layer."""
    config = tiny.model().config
    config.tie_word_embeddings = True
    return _causal(config)


def gpt2() -> Any:
    """Fused projections with a bias, learned positions, a tied output layer."""
    return _causal(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **TOKENS))


def qwen2() -> Any:
    """Projections with a bias."""
    return _causal(Qwen2Config(**DECODER))


def gemma() -> Any:
    """Norms around one, a scaled embedding that is tied to the output layer."""
    return _causal(GemmaConfig(head_dim=8, **DECODER))


def mixtral(experts_per_token: int = 2) -> Any:
    """Four experts a layer."""
    config = MixtralConfig(num_local_experts=4, **DECODER, **EXPERTS)
    config.num_experts_per_tok = experts_per_token
    config.output_router_logits = experts_per_token > 1
    return _causal(config)


def qwen3_moe() -> Any:
    """Eight experts a layer."""
    sizes = {"num_experts": 8, "moe_intermediate_size": 16, "head_dim": 8}
    return _causal(Qwen3MoeConfig(**sizes, **DECODER, **EXPERTS))


def bert() -> Any:
    """An encoder that sorts rows into two classes."""
    set_seed(0)
    return BertForSequenceClassification(BertConfig(num_labels=2, **TOKENS, **SIZES))


def reward_llama() -> Any:
    """A decoder with one score a row."""
    config = tiny.model().config
    config.num_labels = 1
    set_seed(0)
    return LlamaForSequenceClassification(config)


def lora(base: Any, **options: Any) -> PeftModel:
    """A LoRA adapter on the modules that PEFT takes by default."""
    return get_peft_model(base, LoraConfig(**{"r": 4, "lora_alpha": 8, **options}))


def _causal(config: PretrainedConfig) -> Any:
    set_seed(0)
    return AutoModelForCausalLM.from_config(config)
