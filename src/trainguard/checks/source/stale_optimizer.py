"""The optimizer was built before the model got its trainable parameters.

## Why is this bad?
An optimizer updates the tensors that it was given. `get_peft_model` adds new ones and freezes the
old: an optimizer built before holds frozen weights only, and the adapter never moves. Resized
embeddings are new tensors too.

## Example
```source
import torch
from peft import get_peft_model

optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
model = get_peft_model(model, config)  # TG804
for batch in loader:
    model(**batch).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
```

## Instead
```source
import torch
from peft import get_peft_model

model = get_peft_model(model, config)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
```

An optimizer that is built again is not stale:

```source
import torch
from peft import get_peft_model

optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
train(model, optimizer)
model = get_peft_model(model, config)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
```

## Source
A catalogued failure: the loss stays where it is, gradients are there, weights do not change.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._flow import is_optimizer, uses_of
from trainguard.facts.source import SourceFacts, walk
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_NEW_TENSORS = ("get_peft_model", "PeftModel.from_pretrained")
_IN_PLACE = frozenset({"resize_token_embeddings", "add_adapter"})


@check("TG804", severity=Severity.ERROR, precision=Precision.HIGH)
def stale_optimizer(source: SourceFacts) -> Iterator[Finding]:
    """Fire where the model is changed after the optimizer was built, and that one steps."""
    for call in source.calls:
        if not is_optimizer(source, call) or not call.args:
            continue
        statement = source.statement(call)
        model = _model_of(call.args[0])
        if model is None or not isinstance(statement, ast.Assign) or statement.value is not call:
            continue
        change = _change(source, statement, model)
        target = statement.targets[0]
        if change is None or not isinstance(target, ast.Name | ast.Attribute):
            continue
        used = uses_of(source, source.scope(call), target, change.lineno)
        if any(_steps(source, use) for use in used):
            yield Finding(
                f"{ast.unparse(target)} of line {call.lineno} holds the parameters that {model} "
                f"had before {ast.unparse(change.func)}: the new ones are never updated",
                fix="build the optimizer after the model has its final parameters",
                location=source.at(change),
            )


def _model_of(parameters: ast.expr) -> str | None:
    """The `model` of `model.parameters()`."""
    if not isinstance(parameters, ast.Call) or not isinstance(parameters.func, ast.Attribute):
        return None
    is_parameters = parameters.func.attr in ("parameters", "named_parameters")
    return ast.unparse(parameters.func.value) if is_parameters else None


def _change(source: SourceFacts, built: ast.Assign, model: str) -> ast.Call | None:
    """The first call after an assignment that gives the model other tensors."""
    for node in walk(source.scope(built)):
        if not isinstance(node, ast.Call) or node.lineno <= built.lineno:
            continue
        name = source.name(node.func)
        takes_it = bool(node.args) and ast.unparse(node.args[0]) == model
        if takes_it and name.endswith(_NEW_TENSORS) and name.startswith("peft."):
            return node
        method = node.func if isinstance(node.func, ast.Attribute) else None
        if method and method.attr in _IN_PLACE and ast.unparse(method.value) == model:
            return node
    return None


def _steps(source: SourceFacts, use: ast.expr) -> bool:
    parent = source.parents.get(use)
    if isinstance(parent, ast.Attribute):
        return parent.attr == "step"
    return isinstance(parent, ast.Call | ast.keyword | ast.Tuple)
