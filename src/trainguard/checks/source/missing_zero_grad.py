"""A training loop never clears the gradients.

## Why is this bad?
PyTorch adds each backward pass to the gradients that are there. Without `zero_grad` every step
uses the sum of all batches so far: the norm grows with the steps, and the update soon points
where the first batches pointed.

## Example
```source
import torch

optimizer = torch.optim.AdamW(model.parameters())
for batch in loader:
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()  # TG809
```

## Instead
```source
import torch

optimizer = torch.optim.AdamW(model.parameters())
for batch in loader:
    loss = model(**batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
```

Gradients can be cleared elsewhere, or be of parameters that are new in every turn:

```source
import torch

def step(optimizer):
    optimizer.step()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None

for lr in (1e-4, 1e-3):
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model(batch).loss.backward()
    optimizer.step()
```

## Source
The PyTorch documentation of `Optimizer.zero_grad`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._flow import is_optimizer
from trainguard.facts.source import SourceFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

Loop = ast.For | ast.While


@check("TG809", severity=Severity.ERROR, precision=Precision.HIGH)
def missing_zero_grad(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a loop with backward and step in a file that never clears a gradient."""
    if _clears(source):
        return
    seen: set[ast.AST] = set()
    for call in source.calls_of(".step"):
        loop = _loop(source, call)
        owner = call.func.value if isinstance(call.func, ast.Attribute) else None
        if loop is None or loop in seen or not isinstance(owner, ast.Name):
            continue
        built = source.bound(owner)
        if not isinstance(built, ast.Call) or not is_optimizer(source, built):
            continue
        if built.lineno < loop.lineno and _goes_back(loop):
            seen.add(loop)
            yield Finding(
                f"the loop of line {loop.lineno} steps {owner.id} and never clears the gradients: "
                "each step uses the sum of all batches before it",
                fix=f"call {owner.id}.zero_grad() after {owner.id}.step()",
                location=source.at(call),
            )


def _clears(source: SourceFacts) -> bool:
    """Whether anything in the file sets gradients back."""
    return any(
        node.attr in ("zero_grad", "zero_grad_")
        or (node.attr == "grad" and isinstance(node.ctx, ast.Store))
        for node in source.each(ast.Attribute)
    )


def _loop(source: SourceFacts, call: ast.Call) -> Loop | None:
    """The outermost loop around a call, in its own function."""
    found = None
    for outer in source.around(call):
        if isinstance(outer, Loop):
            found = outer
        elif isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            break
    return found


def _goes_back(loop: Loop) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "backward" for node in ast.walk(loop)
    )
