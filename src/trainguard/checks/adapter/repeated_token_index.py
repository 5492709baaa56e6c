"""The config trains the same token twice.

## Why is this bad?
`trainable_token_indices` says which row of the embeddings each stored row replaces. If an index
stands there twice, two stored rows go to one row of the embeddings: one of them is lost, and the
token that should have stood there keeps the base model's embedding. PEFT loads it in silence.

## Example
```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config trainable_token_indices='[5, 7, 5]'   # TG153
```

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config trainable_token_indices='{"embed_tokens": [5, 5], "lm_head": [5]}'   # TG153
```

```adapter
config peft_type=TRAINABLE_TOKENS
config token_indices='[9, 9]'   # TG153
```

## Instead
Restore the indices of the training; the order is that of the stored rows.

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config trainable_token_indices='[7, 5]'
```

Two modules may have the same token:

```adapter
config peft_type=LORA r=8 target_modules='["q_proj"]'
config trainable_token_indices='{"embed_tokens": [5], "lm_head": [5]}'
```

## Source
PEFT 0.21.2: `TrainableTokensLayer`, loaded with an index in the place of another: the logits
changed, nothing was said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from trainguard.checks.adapter._tokens import FIELDS, index_lists
from trainguard.facts.adapter import AdapterConfig
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG153", severity=Severity.WARNING, precision=Precision.EXACT)
def repeated_token_index(config: AdapterConfig) -> Iterator[Finding]:
    """Fire once for the first list that has an index twice."""
    for indices in index_lists(config).values():
        index, count = next(iter(Counter(indices).most_common(1)), (0, 0))
        if count > 1:
            yield _finding(config, FIELDS[config.peft_type], index, count, len(indices))
            return


def _finding(config: AdapterConfig, field: str, index: int, count: int, total: int) -> Finding:
    return Finding(
        f"{field} holds the token {index} {count} times among {total} indices, so that 1 of the "
        f"{count} stored rows is used and what the others were trained to is lost in silence",
        fix=f"restore {field} in adapter_config.json as it was trained, one index for each row",
        location=config.location(field),
        evidence={"index": index, "count": count, "tokens": total},
    )
