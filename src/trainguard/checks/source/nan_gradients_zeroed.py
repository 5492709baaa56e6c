"""Gradients that are NaN are set to zero.

## Why is this bad?
One NaN in a gradient means that the loss, an activation or a scale overflowed. Set to zero, the
parameters concerned silently stop learning, step after step, while the others go on; the cause
stays. A gradient scaler, or skipping the step, is the remedy that is meant for overflows.

## Example
```source
import torch
from transformers import TrainerCallback

class Clean(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        for parameter in model.parameters():
            if parameter.grad is not None and torch.isnan(parameter.grad).any():
                parameter.grad.zero_()  # TG813
```

```source
import torch

for parameter in model.parameters():
    parameter.grad = torch.nan_to_num(parameter.grad)  # TG813
```

```source
import torch

for parameter in model.parameters():
    parameter.grad[torch.isnan(parameter.grad)] = 0  # TG813
```

## Instead
```source
import torch

norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
for parameter in model.parameters():
    if not torch.isfinite(parameter.grad).all():
        raise RuntimeError("a gradient is not finite")
optimizer.step()
optimizer.zero_grad()
```

## Source
The story that trainguard was written for: a callback that zeroed NaN gradients kept a run alive
that trained nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._nonfinite import is_gradient, replacements_of, tests_of
from trainguard.facts.source import SourceFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_EMPTIES = frozenset({"zero_", "fill_", "masked_fill_"})


@check("TG813", severity=Severity.ERROR, precision=Precision.HIGH)
def nan_gradients_zeroed(source: SourceFacts) -> Iterator[Finding]:
    """Fire where a NaN in a gradient becomes a number."""
    for node in (*source.each(ast.If), *source.each(ast.Assign), *source.each(ast.Call)):
        place = _place(source, node)
        if place is not None:
            yield Finding(
                "gradients that are NaN become numbers here: their parameters stop learning and "
                "nothing says so",
                fix="raise or skip the step where a gradient is not finite, and find the overflow",
                location=source.at(place),
            )


def _place(source: SourceFacts, node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.If):
        asks = any(is_gradient(asked) for asked in tests_of(node.test, source))
        return next(_emptied(node.body), None) if asks else None
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        target = node.targets[0]
        masked = any(is_gradient(asked) for asked in tests_of(target.slice, source))
        return node if masked and is_gradient(target.value) else None
    if isinstance(node, ast.Call):
        for call, replaced in replacements_of(node, source):
            if call is node and is_gradient(replaced):
                return node
    return None


def _emptied(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements that put zeros into a gradient; None as its value is the usual clearing."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                inner = owner.value if isinstance(owner, ast.Attribute) else owner
                if node.func.attr in _EMPTIES and (is_gradient(owner) or is_gradient(inner)):
                    yield node
            elif _makes_gradient(node):
                yield node


def _makes_gradient(node: ast.AST) -> bool:
    """`parameter.grad = torch.zeros_like(...)`"""
    is_made = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
    return is_made and is_gradient(node.targets[0])  # type: ignore[attr-defined]
