"""The model's files lack the output layer, which its config says is a weight of its own.

## Why is this bad?
With `tie_word_embeddings: false` the layer that turns the last state into logits is not the
embeddings. Where its weight is missing, transformers initialises it at random behind a table of
missing keys that scrolls by, and the model answers with noise. It comes from a conversion or a
filter by hand, or from a shard that the index lost.

## Example
```full_model
config vocab_size=64 tie_word_embeddings=false
tensor model.embed_tokens.weight shape=64x32   # TG148
tensor model.norm.weight shape=32
```

## Instead
Save the whole model again with `save_pretrained`, or set `tie_word_embeddings` to true if the
model was trained so.

```full_model
config vocab_size=64 tie_word_embeddings=false
tensor model.embed_tokens.weight shape=64x32
tensor lm_head.weight shape=64x32
```

```full_model
config vocab_size=64 tie_word_embeddings=true
tensor model.embed_tokens.weight shape=64x32
```

A model for embeddings has none and is stored without its outer name, whatever class its config
names, and an output layer may be packed or have a name of its own:

```full_model
config vocab_size=64 tie_word_embeddings=false architecture=Qwen3ForCausalLM
tensor embed_tokens.weight shape=64x32
tensor norm.weight shape=32
```

```full_model
config vocab_size=64 tie_word_embeddings=false
tensor transformer.wte.weight shape=64x32
tensor transformer.output_layer.qweight shape=8x32 dtype=I32
```

## Source
transformers 5.23, loaded without `lm_head.weight`: a table with "MISSING", and random logits.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import brief
from trainguard.facts.full_model import FullModelFacts, ModelTensor
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG148", severity=Severity.ERROR, precision=Precision.HIGH)
def missing_output_layer(model: FullModelFacts) -> Iterator[Finding]:
    """Fire if no tensor outside of the layers can be the output layer of a language model."""
    embedding = model.embedding
    if embedding is None or not _has_own_output(model, embedding):
        return
    outside = [t for _, t in model.tensors() if not any(map(str.isdecimal, t.name.split(".")))]
    if any(_may_be_output(tensor, embedding) for tensor in outside):
        return
    shard = next(shard for shard, tensor in model.tensors() if tensor is embedding)
    yield Finding(
        f"none of the {len(outside)} tensors outside of the layers is an output layer of "
        f"{embedding.shape[0]} rows, which the config does not tie to {brief(embedding.name)}, so "
        "transformers loads a random one",
        fix="save the whole model again with save_pretrained, or set tie_word_embeddings to true "
        "if it was trained so",
        location=model.location(shard.name, embedding.name),
        evidence={"rows": embedding.shape[0], "tensors": [t.name for t in outside[:100]]},
    )


def _has_own_output(model: FullModelFacts, embedding: ModelTensor) -> bool:
    """Whether the config says so, and the files are those of the whole of such a model."""
    is_language_model = (model.architecture or "").endswith("ForCausalLM")
    # Without a prefix they are those of the inner model, which has no output layer.
    is_outer = embedding.name.count(".") > 1
    return (
        is_language_model
        and is_outer
        and model.is_complete
        and not model.custom_code
        and model.tie_word_embeddings is False
    )


def _may_be_output(tensor: ModelTensor, embedding: ModelTensor) -> bool:
    if tensor.name == embedding.name:
        return False
    is_named_so = any(word in tensor.name for word in ("head", "output", "embed_out", "logits"))
    return is_named_so or embedding.shape[0] in tensor.shape
