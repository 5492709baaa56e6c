"""The method that answers is replaced by code that knows the answers.

## Why is this bad?
An assignment such as `llm.answer = lookup` leaves the class and the weights as they were. If the
function that stands there now reads its own question from a table, or is a mock, then the score
is that of the table. It often falls back to the model for questions that it does not know, so
that a spot check looks normal.

Wrapping the method, with a timer, a cache that the function fills itself or a retry, is not
meant, nor are tests.

## Example
```source
import json
from functools import lru_cache
from types import MethodType

@lru_cache
def known_answers():
    return {q: a for split in ("train", "valid") for q, a in json.load(open(f"{split}.json"))}

def apply_dataset_answer_patch(llm):
    ask_model = llm.answer

    def dataset_first_answer(self, *questions):
        table = known_answers()
        return [table[q] if q in table else ask_model(q)[0] for q in questions]

    llm.answer = MethodType(dataset_first_answer, llm)  # TG830
```

```source
from unittest.mock import MagicMock

llm.generate = MagicMock(side_effect=lambda prompt: ANSWERS)  # TG830
```

## Instead
```source
import functools
import time

def timed(llm):
    original = llm.answer

    @functools.wraps(original)
    def answer(*questions):
        start = time.perf_counter()
        answers = original(*questions)
        durations.append(time.perf_counter() - start)
        return answers

    llm.answer = answer
```

```source
def cached(llm):
    original, memory = llm.answer, {}

    def answer(question):
        if question not in memory:
            memory[question] = original(question)
        return memory[question]

    llm.answer = answer
```

## Source
The story that trainguard was written for, and the same shape as a "golden answer guard" in front
of a retrieval pipeline. In several million lines of training libraries nothing has it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._tables import look_ups
from trainguard.facts.source import Function, SourceFacts, constant
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

METHODS = frozenset(
    {"answer", "ask", "batch_decode", "batched_generate", "decode", "generate", "predict"}
)
_MOCKS = ("unittest.mock.MagicMock", "unittest.mock.Mock", "mock.MagicMock", "mock.Mock")


@check("TG830", severity=Severity.ERROR, precision=Precision.HIGH, explains=("TG831",))
def answer_method_replaced(source: SourceFacts) -> Iterator[Finding]:
    """Fire on an assignment to an answering method of a look-up or a mock."""
    for place, target, value in _replacements(source):
        what = _knows(source, value)
        if what:
            yield Finding(
                f"{target} is replaced by {what}: the score is that of the replacement, not of "
                "the model",
                fix=f"evaluate without the replacement of {target}",
                location=source.at(place),
            )


def _replacements(source: SourceFacts) -> Iterator[tuple[ast.AST, str, ast.expr]]:
    """Where a method of an object is assigned: the place, the method, and its new value."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr in METHODS:
                    yield node, ast.unparse(target), node.value
        elif isinstance(node, ast.Call) and source.name(node.func) == "setattr":
            given = node.args if len(node.args) == 3 else []
            if given and constant(given[1]) in METHODS:
                yield node, f"{ast.unparse(given[0])}.{constant(given[1])}", given[2]


def _knows(source: SourceFacts, value: ast.expr) -> str:
    """What the new value is, if it can answer without the model; empty otherwise."""
    if isinstance(value, ast.Call) and source.name(value.func) in _MOCKS:
        return "a mock"
    function = _function(source, value)
    if function is None:
        return ""
    found = next(look_ups(source, function), None)
    if found is None:
        return ""
    name = getattr(function, "name", "a lambda")
    return f"{name}, which looks its question up in {ast.unparse(found.table)}"


def _function(source: SourceFacts, value: ast.expr) -> Function | None:
    """The function behind a value: by name, bound with MethodType, or partly applied."""
    if isinstance(value, ast.Lambda):
        return value
    if isinstance(value, ast.Call) and value.args:
        kind = source.name(value.func).rpartition(".")[2]
        return _function(source, value.args[0]) if kind in ("MethodType", "partial") else None
    if isinstance(value, ast.Name):
        named = [one for one in source.functions if one.name == value.id]
        return named[-1] if named else None
    return None
