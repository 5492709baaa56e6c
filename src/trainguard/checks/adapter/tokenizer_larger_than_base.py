"""The tokenizer beside the adapter knows tokens that have no row in the base model's embeddings.

## Why is this bad?
A text that holds such a token stops in an index error on the CPU, and in a device-side assertion on
a GPU, which tells nothing about the cause. Tokens were added for the training, a padding token most
often; the base model was resized then and has to be again, or it never was. A model whose prompts
never hold such a token works, so this is a warning.

This check needs the base model's folder: `--base DIR`, or a local one that the config names.

## Example
```adapter
config peft_type=LORA r=8
base model.embed_tokens.weight shape=100x16 vocab=100
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tokenizer.json highest_token=102   # TG159
```

## Instead
Call `model.resize_token_embeddings(len(tokenizer))` before the adapter is trained, and again before
it is loaded.

```adapter
config peft_type=LORA r=8
base model.embed_tokens.weight shape=128x16 vocab=128
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tokenizer.json highest_token=102
```

An adapter that was trained on resized embeddings holds them, and TG152 compares those:

```adapter
config peft_type=LORA r=8
base model.embed_tokens.weight shape=100x16 vocab=100
tensor base_model.model.model.embed_tokens.weight shape=103x16
tensor base_model.model.model.layers.0.q_proj.lora_A.weight shape=8x16
tensor base_model.model.model.layers.0.q_proj.lora_B.weight shape=16x8
tokenizer.json highest_token=102
```

## Source
TG146 says the same of full models, and names the healthy one with such a token.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._bases import has_number
from trainguard.facts.adapter import AdapterTensors, TensorFacts, brief
from trainguard.facts.base_model import BaseModelFacts
from trainguard.facts.tokenizer import TOKENIZER_NAME, TokenizerFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG159", severity=Severity.WARNING, precision=Precision.MEDIUM)
def tokenizer_larger_than_base(
    tokenizer: TokenizerFacts, tensors: AdapterTensors, base: BaseModelFacts
) -> Iterator[Finding]:
    """Fire if the largest token id has a row neither in the base model nor in the adapter."""
    highest = tokenizer.highest_token
    if not base.vocab or highest is None or highest < base.vocab:
        return
    if highest < max(map(_rows, tensors.tensors), default=0):
        return
    token = f" ({brief(tokenizer.last_tokens[0])})" if tokenizer.last_tokens else ""
    yield Finding(
        f"{TOKENIZER_NAME} goes up to token {highest}{token}, the embeddings of the base model "
        f"{brief(base.path)} have {base.vocab} rows, so a text with a token beyond them stops in "
        "an index error",
        fix="call model.resize_token_embeddings(len(tokenizer)) on the base model before the "
        "adapter is trained and before it is loaded",
        location=Location(path=tokenizer.path, key="highest_token", value=str(highest)),
        evidence={
            "highest_token": highest,
            "rows": base.vocab,
            "tokens": list(tokenizer.last_tokens),
        },
    )


def _rows(tensor: TensorFacts) -> int:
    """Rows of the embeddings that the adapter brings or adapts."""
    if tensor.part == "lora_embedding_A":
        return tensor.shape[-1] if tensor.shape else 0
    is_embedding = not tensor.is_added and len(tensor.shape) == 2 and not has_number(tensor.module)
    return tensor.shape[0] if is_embedding else 0
