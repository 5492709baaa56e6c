"""The parser returns a number where it finds none.

## Why is this bad?
`return 0.0` in place of "no answer" makes the answer rate 1.0 for any model, also for one that
says nothing, and counts garbage as right where the expected answer is zero. The rate then hides
what it was meant to show.

## Example
```source
import re

def parse_answer(text):
    try:
        return float(re.search(r"<answer>(.*?)</answer>", text)[1])
    except (TypeError, ValueError):
        return 0.0  # TG833
```

```source
import re

def extract_answer(text):
    found = re.findall(r"-?[0-9.]+", text)
    return float(found[-1]) if found else 0  # TG833
```

## Instead
```source
import re

def parse_answer(text):
    try:
        return float(re.search(r"<answer>(.*?)</answer>", text)[1])
    except (TypeError, ValueError):
        return float("nan")
```

```source
import re

def extract_answer(text):
    found = re.findall(r"-?[0-9.]+", text)
    return float(found[-1]) if found else None
```

## Source
The story that trainguard was written for: all of ten texts without an answer became 0.0.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from trainguard.facts.source import Function, SourceFacts, constant, parameters, walk
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_PARSER = re.compile(r"^_?(parse|extract|read|get)_(\w+_)?(answer|prediction)(_\w+)?$")
_OTHER = re.compile(r"score|reward|index|idx|count|rate|loss|length|num_")


@check("TG833", severity=Severity.ERROR, precision=Precision.HIGH)
def parser_always_answers(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a parser of answers that returns a number literal beside what it reads."""
    for function in source.functions:
        if not _PARSER.match(function.name) or _OTHER.search(function.name):
            continue
        results = list(_results(function))
        made_up = [value for value in results if _is_number(value)]
        if made_up and len(made_up) < len(results) and _reads(function):
            yield Finding(
                f"{function.name} returns {ast.unparse(made_up[0])} where it finds no answer: the "
                "answer rate cannot fall, whatever the model says",
                fix='return None or float("nan") there, and count such rows as unanswered',
                location=source.at(made_up[0]),
            )


def _results(function: Function) -> Iterator[ast.expr]:
    """What the function returns, both sides of a condition apart."""
    for node in walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            value = node.value
            yield from (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)


def _is_number(value: ast.expr) -> bool:
    """A literal that could be an answer; a negative one is a mark of its own kind."""
    number = constant(value)
    return isinstance(number, int | float) and not isinstance(number, bool) and number >= 0


def _reads(function: Function) -> bool:
    """Whether it turns its first parameter into a number."""
    given = [name for name in parameters(function) if name not in ("self", "cls")]
    uses = {node.id for node in walk(function) if isinstance(node, ast.Name)}
    calls = {
        node.func.id
        for node in walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return bool(given) and given[0] in uses and bool(calls & {"float", "int", "Decimal", "eval"})
