"""Tiny base models built from configs, each with a batch to train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForQuestionAnswering,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

Batch = dict[str, torch.Tensor]

VOCABULARY = 64
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
}
TOKENS = torch.arange(3, 27).reshape(2, 12)


@dataclass(frozen=True)
class Base:
    """How a base model is made, the same at every call, and a batch that it can learn from."""

    make: Callable[[], Any]
    batch: Batch

    def __call__(self) -> Any:
        torch.manual_seed(0)
        return self.make().eval()


class Images(nn.Module):
    """A convolution and an attention, neither of which transformers knows."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> Any:
        seen = self.convolution(pixels).flatten(2).transpose(1, 2)
        attended, _ = self.attention(seen, seen, seen)
        logits = self.head(attended.mean(1))
        return SimpleNamespace(logits=logits, loss=nn.functional.cross_entropy(logits, labels))


def images() -> Batch:
    pixels = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return {"pixels": pixels, "labels": torch.tensor([0, 1])}


TEXT = {"input_ids": TOKENS, "labels": TOKENS}
CLASSES = {"input_ids": TOKENS, "labels": torch.tensor([0, 2])}
TAGS = {"input_ids": TOKENS, "labels": TOKENS % 3}
SPANS = {
    "input_ids": TOKENS,
    "start_positions": torch.tensor([1, 2]),
    "end_positions": torch.tensor([3, 4]),
}

LLAMA = Base(lambda: LlamaForCausalLM(LlamaConfig(**SIZES)), TEXT)
WIDER = Base(lambda: LlamaForCausalLM(LlamaConfig(**SIZES | {"hidden_size": 64})), TEXT)
SHORTER = Base(lambda: LlamaForCausalLM(LlamaConfig(**SIZES | {"num_hidden_layers": 1})), TEXT)
TIED = Base(lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)), TEXT)
BIASED = Base(
    lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True)), TEXT
)
MIXTRAL = Base(lambda: MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4)), TEXT)
GPT2 = Base(
    lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4)),
    TEXT,
)
T5 = Base(
    lambda: T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        )
    ),
    TEXT,
)
CLASSIFIER = Base(
    lambda: LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=3)), CLASSES
)
TAGGER = Base(lambda: LlamaForTokenClassification(LlamaConfig(**SIZES, num_labels=3)), TAGS)
READER = Base(lambda: LlamaForQuestionAnswering(LlamaConfig(**SIZES)), SPANS)
IMAGES = Base(Images, images())
