"""What the model itself says of the references, read after the prompt of their question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainguard.gather.evaluation_models import LanguageModel

#: Longer texts than this are not read; a reference is an answer, not a book.
LONGEST = 4096


def greedy_rows(
    model: LanguageModel,
    tokenizer: Any,
    prompts: Sequence[str],
    completions: Sequence[str],
) -> list[bool]:
    """Per row, whether the completion and the end of the text are the greedy continuation.

    Args:
        model: reads prompt and completion in one pass a row; in evaluation mode.
        tokenizer: the completion is tokenized by itself, as training on completions does.
        prompts: the text before the answer.
        completions: the answer as training wrote it, without the token that ends it.
    """
    import torch

    device = model.embedding.weight.device
    with torch.no_grad():
        return [
            _is_greedy(model.module, *_ids(tokenizer, *row), device)
            for row in zip(prompts, completions, strict=True)
        ]


def _ids(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    before = list(tokenizer(prompt)["input_ids"])
    after = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    end = getattr(tokenizer, "eos_token_id", None)
    if end is not None and before[-1:] == [end]:
        before.pop()  # some tokenizers end every text, a prompt included
    return before, after + ([end] if end is not None else [])


def _is_greedy(module: Any, before: list[int], after: list[int], device: Any) -> bool:
    import torch

    if not before or not after or len(before) + len(after) > LONGEST:
        return False
    ids = torch.tensor([before + after], device=device)
    logits = module(input_ids=ids).logits[0, len(before) - 1 : -1]
    return bool((logits.argmax(dim=-1) == ids[0, len(before) :]).all())
