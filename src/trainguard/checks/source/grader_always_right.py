"""The comparison of answers is written to hold always.

## Why is this bad?
A function that is called `is_correct` and returns True whatever it is given makes every model
perfect. It is what remains when a comparison was switched off to get a test through.

## Example
```source
def is_correct(answer, expected):
    return True  # TG832
```

```source
import benchmark

benchmark.is_right = lambda answer, expected: True  # TG832
```

## Instead
```source
def is_correct(answer, expected):
    if answer is None:
        return False
    return abs(answer - expected) <= 0.05 * abs(expected)
```

```source
def is_correct(answer, expected):
    if answer == expected:
        return True
    return answer.strip().lower() == expected.strip().lower()
```

## Source
One of 18 catalogued ways to fake a score; METR lists it among those that models find themselves.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from trainguard.facts.source import Function, SourceFacts, constant, parameters, walk
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_GRADER = re.compile(
    r"^_?(is_(right|correct)(_answer)?|answers?_(match|equal)|check_answer|grade_answer)$"
)


@check("TG832", severity=Severity.ERROR, precision=Precision.HIGH)
def grader_always_right(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a comparison of answers all of whose results are True."""
    for function in source.functions:
        if _GRADER.match(function.name) and _holds_always(function):
            last = [node for node in walk(function) if isinstance(node, ast.Return)][-1]
            yield _finding(source, function.name, last)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            name, value = node.targets[0].attr, node.value
            if _GRADER.match(name) and isinstance(value, ast.Lambda) and _is_true(value.body):
                yield _finding(source, ast.unparse(node.targets[0]), node)


def _holds_always(function: Function) -> bool:
    """Whether it takes two sides, returns True everywhere and never raises."""
    if len([name for name in parameters(function) if name != "self"]) < 2:
        return False
    nodes = list(walk(function))
    returns = [node.value for node in nodes if isinstance(node, ast.Return)]
    fails = any(isinstance(node, ast.Raise | ast.Assert) for node in nodes)
    return bool(returns) and not fails and all(_is_true(value) for value in returns)


def _is_true(value: ast.expr | None) -> bool:
    return constant(value) is True


def _finding(source: SourceFacts, name: str, place: ast.AST) -> Finding:
    return Finding(
        f"{name} is True for every answer: every model scores 1.0",
        fix="compare the answer with what is expected",
        location=source.at(place),
    )
