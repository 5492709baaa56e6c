"""The config's token indices do not fit the stored rows or the base model's vocabulary.

## Why is this bad?
`trainable_token_indices` says which rows of the embeddings the stored rows replace, one index for
each row in their order. With another count the loader stops with a size mismatch that names a
tensor, not the field. An index beyond the vocabulary stops it with a bare `IndexError`: the tokens
were added for the training, and the base model's embeddings were not resized again before loading.

## Example
```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config trainable_token_indices='[5]'   # TG158
tensor base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta shape=2x16
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config trainable_token_indices='{"embed_tokens": [5, 7], "lm_head": [5]}'   # TG158
tensor base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta shape=2x16
tensor base_model.model.lm_head.token_adapter.trainable_tokens_delta shape=2x16
```

With the base model's headers the ids can be judged, as a warning, for the base may yet be resized:

```adapter
config peft_type=TRAINABLE_TOKENS
config token_indices='[5, 100]'   # TG158
base model.embed_tokens.weight shape=100x16 vocab=100
tensor base_model.model.model.embed_tokens.trainable_tokens_delta shape=2x16
```

## Instead
Restore the indices of the training, and resize the base model's embeddings before loading if they
were resized for it.

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config trainable_token_indices='{"embed_tokens": [5, 99], "lm_head": [5]}'
base model.embed_tokens.weight shape=100x16 vocab=100
tensor base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta shape=2x16
tensor base_model.model.lm_head.token_adapter.trainable_tokens_delta shape=1x16
```

Without the base model's headers, an id says nothing:

```adapter
config peft_type=TRAINABLE_TOKENS token_indices='[128256]'
tensor base_model.model.model.embed_tokens.trainable_tokens_delta shape=1x16
```

## Source
PEFT 0.21.2: `TrainableTokensLayer`; each case was loaded there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trainguard.checks.adapter._targets import names_module
from trainguard.checks.adapter._tokens import FIELDS, TOKEN_PART, index_lists
from trainguard.facts.adapter import AdapterConfig, AdapterTensors, TensorFacts, brief
from trainguard.facts.base_model import BaseModelFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG158", severity=Severity.ERROR, precision=Precision.EXACT, explains=("TG159",))
def token_index_mismatch(
    config: AdapterConfig, tensors: AdapterTensors, base: BaseModelFacts | None
) -> Iterator[Finding]:
    """Fire at the first tensor with other rows than indices, or else for ids without a row."""
    lists = index_lists(config)
    stored = [tensor for tensor in tensors.tensors if tensor.part == TOKEN_PART and tensor.shape]
    for tensor in stored:
        indices = _indices(lists, tensor)
        if indices is not None and len(indices) != tensor.shape[0]:
            yield _count(config, tensor, len(indices))
            return
    if base is None or not base.vocab or not stored:
        return
    beyond = sorted({one for some in lists.values() for one in some if one >= base.vocab})
    if beyond:
        yield _vocabulary(config, beyond, base)


def _indices(lists: Mapping[str, list[int]], tensor: TensorFacts) -> list[int] | None:
    """The indices of the tensor's module; a list without a name is for all modules."""
    module = tensor.module.removesuffix(".token_adapter")
    return next((lists[name] for name in lists if not name or names_module(name, module)), None)


def _count(config: AdapterConfig, tensor: TensorFacts, stated: int) -> Finding:
    field = FIELDS[config.peft_type]
    return Finding(
        f"{field} gives {stated} indices for the {tensor.shape[0]} rows of {brief(tensor.name)}, "
        "so the loader stops with a size mismatch",
        fix=f"restore {field} in adapter_config.json as it was trained, one index for each row",
        location=config.location(field),
        evidence={"indices": stated, "rows": tensor.shape[0], "tensor": tensor.name},
    )


def _vocabulary(config: AdapterConfig, beyond: list[int], base: BaseModelFacts) -> Finding:
    field = FIELDS[config.peft_type]
    return Finding(
        f"{field} holds {len(beyond)} ids beyond the {base.vocab} rows of the base model "
        f"{brief(base.path)} (first {beyond[0]}), so the loader stops with an IndexError unless "
        "its embeddings are resized first",
        fix="resize the base model's embeddings before loading, as the training did, or restore "
        f"{field} as it was trained",
        location=config.location(field),
        evidence={"ids": beyond[:100], "count": len(beyond), "rows": base.vocab},
        severity=Severity.WARNING,
        precision=Precision.HIGH,
    )
