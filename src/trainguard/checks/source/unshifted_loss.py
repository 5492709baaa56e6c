"""A loss of one's own compares each token with itself.

## Why is this bad?
A causal language model's output at a position is its guess of the next token. Compared with the
token at the same position, which the model has just read, the task is to repeat the input: the
loss falls to almost nothing within a few steps, and the model learns to copy its last token.

## Example
```source
import torch.nn.functional as F

ids = batch["input_ids"]
logits = model(input_ids=ids).logits
loss = F.cross_entropy(logits.view(-1, logits.size(-1)), ids.view(-1))  # TG816
```

## Instead
```source
import torch.nn.functional as F

ids = batch["input_ids"]
logits = model(input_ids=ids).logits
loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
```

A model that reads masked or noisy tokens is asked for the original at the same place:

```source
import torch.nn.functional as F

ids = batch["input_ids"]
logits = model(input_ids=mask(ids)).logits
loss = F.cross_entropy(logits.view(-1, logits.size(-1)), ids.view(-1))
```

## Source
Reproduced on a tiny model: the loss on random tokens falls below that of guessing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.facts.source import SourceFacts, argument
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_RESHAPES = frozenset({"view", "reshape", "flatten", "contiguous", "float", "long", "transpose"})


@check("TG816", severity=Severity.WARNING, precision=Precision.HIGH)
def unshifted_loss(source: SourceFacts) -> Iterator[Finding]:
    """Fire where logits and their own input ids meet without a slice."""
    for call in source.calls_of("cross_entropy", ".cross_entropy"):
        logits, target = argument(call, "input", 0), argument(call, "target", 1)
        if logits is None or target is None:
            continue
        model_call = _model_call(source, logits)
        wanted = _bare(source, target)
        if model_call is None or "input_ids" not in wanted:
            continue
        read = argument(model_call, "input_ids", 0)
        if read is not None and _bare(source, read) == wanted:
            yield Finding(
                "the logits at each position are compared with the token that the model read "
                "there: it learns to repeat its input",
                fix="compare logits[:, :-1] with input_ids[:, 1:], or use the loss of the model",
                location=source.at(call),
            )


def _model_call(source: SourceFacts, logits: ast.expr) -> ast.Call | None:
    """The call whose `.logits` these are, reshaped but not sliced."""
    value = _unshaped(logits)
    if isinstance(value, ast.Name):
        bound = source.bound(value)
        value = _unshaped(bound) if bound is not None else value
    if not isinstance(value, ast.Attribute) or value.attr != "logits":
        return None
    made = source.bound(value.value) if isinstance(value.value, ast.Name) else value.value
    return made if isinstance(made, ast.Call) else None


def _bare(source: SourceFacts, value: ast.expr) -> str:
    """An expression without its reshaping, with a name replaced by what it was assigned."""
    value = _unshaped(value)
    if isinstance(value, ast.Name):
        bound = source.bound(value)
        value = _unshaped(bound) if bound is not None else value
    return ast.unparse(value)


def _unshaped(value: ast.expr) -> ast.expr:
    while (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr in _RESHAPES
    ):
        value = value.func.value
    return value
