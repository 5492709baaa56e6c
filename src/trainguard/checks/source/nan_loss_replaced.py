"""A NaN loss is replaced by a number.

## Why is this bad?
A constant in place of the loss has no gradient, and a loss from `nan_to_num` one that is not the
model's: the step trains nothing, and the log shows a finite number. What made the loss NaN, an
overflow, a batch without labels, a bad row, stays and comes back.

Skipping or stopping is in order: it is seen.

## Example
```source
import torch
from transformers import Trainer

class Mine(Trainer):
    def compute_loss(self, model, inputs, **kwargs):
        loss = super().compute_loss(model, inputs, **kwargs)
        if torch.isnan(loss):
            loss = torch.tensor(0.0, requires_grad=True)  # TG812
        return loss
```

```source
import torch

for batch in loader:
    loss = torch.nan_to_num(model(**batch).loss)  # TG812
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
```

## Instead
```source
import torch

for batch in loader:
    loss = model(**batch).loss
    if not torch.isfinite(loss):
        raise RuntimeError(f"loss {loss}: {batch['input_ids']}")
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
```

A number that is only logged is not trained on:

```source
import math

def log(loss):
    if math.isnan(loss):
        loss = 0.0
    print(loss)
```

## Source
The story that trainguard was written for: a `compute_loss` that returned a constant where the
loss was NaN, behind a logged 0.0.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._nonfinite import is_loss, replacements_of, tests_of
from trainguard.facts.source import Function, SourceFacts, constant
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

#: Calls that make a tensor out of nothing.
_MADE = frozenset(
    {"tensor", "zeros", "zeros_like", "zeros_", "full", "full_like", "new_zeros", "ones"}
)


@check("TG812", severity=Severity.ERROR, precision=Precision.HIGH)
def nan_loss_replaced(source: SourceFacts) -> Iterator[Finding]:
    """Fire where a loss that is trained on gets a number for NaN."""
    branches: list[ast.If | ast.IfExp] = [*source.each(ast.If), *source.each(ast.IfExp)]
    for branch in branches:
        if _asks_about_loss(branch.test, source):
            for place in _constants(branch):
                if _is_trained_on(source, place):
                    yield _finding(source, place)
    for assignment in source.each(ast.Assign):
        if _cleans_loss(source, assignment):
            yield _finding(source, assignment)


def _cleans_loss(source: SourceFacts, node: ast.Assign) -> bool:
    is_loss_set = any(map(is_loss, node.targets))
    return is_loss_set and _is_cleaned(source, node.value) and _is_trained_on(source, node)


def _asks_about_loss(test: ast.expr, source: SourceFacts) -> bool:
    return any(is_loss(asked) for asked in tests_of(test, source))


def _constants(node: ast.If | ast.IfExp) -> Iterator[ast.AST]:
    """The places where the loss becomes, or what is returned for it is, a constant."""
    if isinstance(node, ast.IfExp):
        if _is_made_up(node.body) or _is_made_up(node.orelse):
            yield node
        return
    for statement in (*node.body, *node.orelse):
        value = getattr(statement, "value", None)
        sets_loss = isinstance(statement, ast.Assign) and any(map(is_loss, statement.targets))
        is_outcome = sets_loss or isinstance(statement, ast.Return)
        if is_outcome and value is not None and _is_made_up(value):
            yield statement


def _is_made_up(value: ast.expr) -> bool:
    if isinstance(constant(value), int | float) and not isinstance(constant(value), bool):
        return True
    call = value
    while isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        if call.func.attr in _MADE:
            return True
        call = call.func.value
    return False


def _is_cleaned(source: SourceFacts, value: ast.expr) -> bool:
    """`nan_to_num(...)`, or `where(isnan(loss), 0, loss)`."""
    if any(call is value for call, _ in replacements_of(value, source)):
        return True
    is_where = isinstance(value, ast.Call) and source.name(value.func).endswith(".where")
    return is_where and _asks_about_loss(value, source)


def _is_trained_on(source: SourceFacts, place: ast.AST) -> bool:
    """Whether the function computes a trainer's loss, or goes back from it itself."""
    scope = source.scope(place)
    name = getattr(scope, "name", "")
    if name in ("compute_loss", "training_step"):
        return True
    return any(isinstance(node, ast.Attribute) and node.attr == "backward" for node in _own(scope))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, Function):
            yield child
            yield from _own(child)


def _finding(source: SourceFacts, place: ast.AST) -> Finding:
    return Finding(
        "a loss that is NaN is replaced by a number here: the step trains nothing and the log "
        "looks sound",
        fix="stop on the first loss that is not finite and find the batch or the overflow that "
        "made it",
        location=source.at(place),
    )
