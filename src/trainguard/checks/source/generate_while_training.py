"""Text is generated while the model is in training mode.

## Why is this bad?
In training mode dropout is on: each token is chosen by another, thinned-out network, and the
score of an evaluation comes out lower and different each time. With gradient checkpointing the
cache is off as well, and generation takes many times as long.

Meant is a function that calls `train()` on a model and then `generate()`, with no `eval()` in
between. A trainer that evaluates by itself takes care of it.

## Example
```source
def epoch(model, loader, questions):
    model.train()
    for batch in loader:
        step(model, batch)
    return model.generate(**questions, max_new_tokens=32)  # TG808
```

## Instead
```source
def epoch(model, loader, questions):
    model.train()
    for batch in loader:
        step(model, batch)
    model.eval()
    return model.generate(**questions, max_new_tokens=32)
```

Samples for reinforcement learning are drawn in a function that sets the mode itself:

```source
def rollout(model, prompts):
    model.eval()
    samples = model.generate(**prompts, do_sample=True)
    model.train()
    return samples
```

Of two branches only one is taken:

```source
def sample(model, prompts, paged):
    if paged:
        texts = model.generate_batch(prompts)
        model.train()
    else:
        texts = model.generate(**prompts)
    return texts
```

## Source
A catalogued failure: evaluation scores that move from call to call with fixed weights.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.facts.source import Scope, SourceFacts, constant, walk
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_MODES = frozenset({"train", "eval", "generate"})


@check("TG808", severity=Severity.WARNING, precision=Precision.MEDIUM)
def generate_while_training(source: SourceFacts) -> Iterator[Finding]:
    """Fire on `generate` whose last mode in the text was set by `train`."""
    for scope in (source.tree, *source.functions):
        modes: dict[str, ast.Call] = {}
        for call, method, owner in _mode_calls(scope):
            if method == "generate":
                if owner in modes and not source.exclusive(modes[owner], call):
                    yield _finding(source, call, owner, modes[owner])
            elif method == "train" and not _is_off(call):
                modes[owner] = call
            else:
                modes.pop(owner, None)


def _mode_calls(scope: Scope) -> Iterator[tuple[ast.Call, str, str]]:
    """Calls that set the mode of something or generate with it, in the order of the text."""
    for node in walk(scope):
        method = node.func if isinstance(node, ast.Call) else None
        if isinstance(method, ast.Attribute) and method.attr in _MODES:
            yield node, method.attr, ast.unparse(method.value)  # type: ignore[misc]


def _is_off(call: ast.Call) -> bool:
    """`model.train(False)` is `model.eval()`, and `trainer.train(path)` is no mode."""
    return bool(call.keywords) or bool(call.args and constant(call.args[0]) is not True)


def _finding(source: SourceFacts, call: ast.Call, owner: str, train: ast.Call) -> Finding:
    return Finding(
        f"{owner} is in training mode since line {train.lineno} and generates here: dropout "
        "changes its answers",
        fix=f"call {owner}.eval() before, and {owner}.train() after",
        location=source.at(call),
    )
