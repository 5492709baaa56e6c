"""The tokenizer knows tokens that have no row in the embeddings.

## Why is this bad?
A text that holds such a token stops in an index error on the CPU, and in a device-side assertion on
a GPU, which tells nothing about the cause. Tokens were added to the tokenizer, a padding token most
often, and `resize_token_embeddings` was not called before training or saving. transformers does not
compare the two on load. A model whose prompts never hold such a token works, so this is a warning.

## Example
```full_model
config vocab_size=64 highest_token=64   # TG146
tensor model.embed_tokens.weight shape=64x32
```

## Instead
Call `model.resize_token_embeddings(len(tokenizer))` after adding tokens, train, and save both.

```full_model
config vocab_size=65 highest_token=64
tensor model.embed_tokens.weight shape=65x32
```

More rows than tokens are normal: they are padded to a multiple that the hardware likes.

```full_model
config vocab_size=128 highest_token=99
tensor model.embed_tokens.weight shape=128x32
```

## Source
Rows are read from the embeddings where their name is known, from `vocab_size` otherwise; tokens
from tokenizer.json, added ones included. Gemma 3 1B is a healthy model with one token more, the
image token that its text-only variant never sees.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import FullModelFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG146", severity=Severity.WARNING, precision=Precision.MEDIUM)
def tokenizer_larger_than_embeddings(model: FullModelFacts) -> Iterator[Finding]:
    """Fire if the largest token id has no row."""
    rows = model.embedding.shape[0] if model.embedding else model.vocab_size
    highest = model.highest_token
    if not rows or highest is None or highest < rows:
        return
    token = f" ({brief(model.last_tokens[0])})" if model.last_tokens else ""
    yield Finding(
        f"tokenizer.json goes up to token {highest}{token}, the embeddings have {rows} rows, so a "
        "text with a token beyond them stops in an index error",
        fix="call model.resize_token_embeddings(len(tokenizer)), train the new rows, and save "
        "model and tokenizer",
        location=model.location("tokenizer.json", "highest_token", highest),
        evidence={"highest_token": highest, "rows": rows, "tokens": list(model.last_tokens)},
    )
