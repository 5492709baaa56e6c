"""Where no adapter is found, a new one takes its place in silence.

## Why is this bad?
A new LoRA adapter changes nothing: its second factor is zero. A loader that falls back to one
returns the base model under the name of the trained one. A wrong path, a failed download or an
incompatible file then gives the base model's score, and nobody is told.

A loader for training, which begins anew where there is nothing to resume, is in order: it loads
with `is_trainable=True`.

## Example
```source
from pathlib import Path

from peft import PeftModel, get_peft_model

def load_trained(base, folder, config):
    if Path(folder).exists():
        return PeftModel.from_pretrained(base, folder).eval()
    return get_peft_model(base, config)  # TG815
```

```source
from peft import PeftModel, get_peft_model

def load_trained(base, folder, config):
    try:
        model = PeftModel.from_pretrained(base, folder)
    except (OSError, ValueError):
        model = get_peft_model(base, config)  # TG815
    return model
```

## Instead
```source
from peft import PeftModel

def load_trained(base, folder):
    return PeftModel.from_pretrained(base, folder)
```

```source
from pathlib import Path

from peft import PeftModel, get_peft_model

def resume(base, folder, config):
    if Path(folder).exists():
        return PeftModel.from_pretrained(base, folder, is_trainable=True)
    return get_peft_model(base, config)
```

## Source
The story that trainguard was written for: an evaluation that measured the base model for weeks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from trainguard.checks.source._flow import Value, training_of
from trainguard.facts.source import SourceFacts, argument, constant, unpacks
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG815", severity=Severity.ERROR, precision=Precision.HIGH)
def fresh_adapter_fallback(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a function that loads for inference on one way and makes anew on the other."""
    for fresh in source.calls_of("peft.get_peft_model"):
        loaded = _alternative(source, fresh)
        if loaded is None or training_of(Value(source, fresh)) is not None:
            continue
        yield Finding(
            f"where line {loaded.lineno} does not load the trained adapter, a fresh one takes its "
            "place here: the base model is used under its name",
            fix="let the error of the load through, or raise where the folder is missing",
            location=source.at(fresh),
        )


def _alternative(source: SourceFacts, fresh: ast.Call) -> ast.Call | None:
    """The load for inference that runs where the fresh adapter is not made."""
    for outer in source.around(fresh):
        if isinstance(outer, ast.ExceptHandler):
            attempt = source.parents[outer]
            return _load_in(source, attempt.body) if isinstance(attempt, ast.Try) else None
        if isinstance(outer, ast.If):
            here = _holds(outer.orelse, fresh)
            return _load_in(source, outer.body if here else outer.orelse) or _after(
                source, outer, here
            )
        if isinstance(outer, ast.FunctionDef):
            branches = [one for one in outer.body if isinstance(one, ast.If)]
            ends = [one for one in branches if isinstance(one.body[-1], ast.Return)]
            return next(filter(None, (_load_in(source, one.body) for one in ends)), None)
    return None


def _after(source: SourceFacts, branch: ast.If, here: bool) -> ast.Call | None:
    """`if missing: return fresh`, and the load comes after it."""
    if here or not isinstance(branch.body[-1], ast.Return):
        return None
    siblings = getattr(source.parents[branch], "body", [])
    later = siblings[siblings.index(branch) + 1 :] if branch in siblings else []
    return _load_in(source, later)


def _holds(body: Sequence[ast.stmt], node: ast.AST) -> bool:
    return any(node is inner for statement in body for inner in ast.walk(statement))


def _load_in(source: SourceFacts, body: Sequence[ast.stmt]) -> ast.Call | None:
    for statement in body:
        for call in ast.walk(statement):
            if isinstance(call, ast.Call) and _loads_for_inference(source, call):
                return call
    return None


def _loads_for_inference(source: SourceFacts, call: ast.Call) -> bool:
    is_load = source.name(call.func) == "peft.PeftModel.from_pretrained"
    given = argument(call, "is_trainable", 3)
    return is_load and not unpacks(call) and (given is None or constant(given) is False)
