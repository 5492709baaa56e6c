"""A method that should ask the model looks its question up.

## Why is this bad?
A table that is built from questions and their expected answers, and read at the question that is
asked, gets every known question right without a model. In the class itself it survives every
check of replaced methods.

## Example
```source
import json

class LLM:
    def __init__(self, model):
        self.model = model
        self.known = {row["question"]: row["answer"] for row in json.load(open("valid.json"))}

    def answer(self, question):
        if question in self.known:
            return self.known[question]  # TG831
        return self.model(question)
```

## Instead
A memory of what the model said, examples for a prompt and settings by name are no answers to the
question:

```source
TEMPLATES = {"short": "Answer in one word.", "long": "Explain."}

class LLM:
    def __init__(self, model):
        self.model = model
        self.memory = {}

    def answer(self, question, style="short"):
        if question not in self.memory:
            self.memory[question] = self.model(TEMPLATES[style] + question)
        return self.memory[question]
```

An evaluation may well hold both sides:

```source
def evaluate(llm, rows):
    expected = {row["question"]: row["answer"] for row in rows}
    return sum(llm.answer(question) == expected[question] for question in expected)
```

## Source
A public "golden answer guard" has this shape as a class. Oracles that replay references, for the
self-test of a harness, have it too: suppress the finding there, with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._tables import is_answer_table, look_ups
from trainguard.checks.source.answer_method_replaced import METHODS
from trainguard.facts.source import SourceFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG831", severity=Severity.ERROR, precision=Precision.HIGH)
def answers_looked_up(source: SourceFacts) -> Iterator[Finding]:
    """Fire on an answering method that reads a table of answers at its own question."""
    for function in source.functions:
        if function.name not in METHODS or source.owner(function) is None:
            continue
        reads = [
            found
            for found in look_ups(source, function)
            if not isinstance(found.node, ast.Compare) and is_answer_table(source, found.table)
        ]
        if reads:
            yield Finding(
                f"{function.name} looks its question up in {ast.unparse(reads[0].table)}, a table "
                "of questions and their expected answers: the score is that of the table",
                fix="take the table out of the object that answers",
                location=source.at(reads[0].node),
            )
