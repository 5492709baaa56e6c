"""The token indices of a config whose single rows of the embeddings were trained."""

from __future__ import annotations

from trainguard.facts.adapter import AdapterConfig

#: The field that holds the indices, by `peft_type`.
FIELDS = {"LORA": "trainable_token_indices", "TRAINABLE_TOKENS": "token_indices"}
#: What PEFT calls the rows where it stores them.
TOKEN_PART = "trainable_tokens_delta"


def index_lists(config: AdapterConfig) -> dict[str, list[int]]:
    """The indices by the name of their module; "" is the name of a list that has none."""
    stated = config.values.get(FIELDS.get(config.peft_type, ""))
    named = stated if isinstance(stated, dict) else {"": stated}
    return {
        name: [one for one in indices if type(one) is int]
        for name, indices in named.items()
        if isinstance(indices, list)
    }
