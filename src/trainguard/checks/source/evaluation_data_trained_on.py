"""The training data is an evaluation split.

## Why is this bad?
A model that was trained on the rows that it is scored on shows memory, and the score says nothing
about new questions. It usually is a leftover of a quick try with the smaller file.

## Example
```source
from datasets import load_dataset
from trl import SFTTrainer

data = load_dataset("gsm8k", "main")
rows = data["test"].map(render)
trainer = SFTTrainer(model, args=args, train_dataset=rows)  # TG834
```

```source
from datasets import load_dataset
from transformers import Trainer

train = load_dataset("json", data_files="valid.json", split="train")
held_out = load_dataset("gsm8k", "main", split="test")
Trainer(model=model, args=args, train_dataset=held_out, eval_dataset=held_out)  # TG834
```

## Instead
```source
from datasets import load_dataset
from transformers import Trainer

data = load_dataset("gsm8k", "main")
parts = data["test"].train_test_split(0.5)
Trainer(model=model, args=args, train_dataset=data["train"], eval_dataset=data["test"])
Trainer(model=model, args=args, train_dataset=parts["train"], eval_dataset=parts["test"])
```

## Source
A catalogued failure (contamination): scores that no other data set confirms.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from trainguard.checks.source._flow import is_trainer
from trainguard.facts.source import SourceFacts, argument, constant
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_HELD_OUT = re.compile(r"^(test|validation|valid|val|dev|eval)(uation)?(\[.*\])?$")
#: Names, methods and wrappers between the data and the trainer.
DEPTH = 8


@check("TG834", severity=Severity.ERROR, precision=Precision.HIGH)
def evaluation_data_trained_on(source: SourceFacts) -> Iterator[Finding]:
    """Fire where `train_dataset` comes from a split that is called test or validation."""
    for call in source.calls:
        data = argument(call, "train_dataset")
        if data is None or not is_trainer(source, call):
            continue
        split = _split(source, data)
        if split:
            yield Finding(
                f"train_dataset is the split {split!r}: the rows of the evaluation are trained on",
                fix="train on the training split",
                location=source.at(call),
            )


def _split(source: SourceFacts, data: ast.expr) -> str:
    """The name of the held-out split that an expression is taken from; empty if it is none."""
    for _ in range(DEPTH):
        if isinstance(data, ast.Subscript):
            name = constant(data.slice)
            return name if isinstance(name, str) and _HELD_OUT.match(name) else ""
        if isinstance(data, ast.Name):
            bound = source.bound(data)
            if bound is None:
                return ""
            data = bound
        elif isinstance(data, ast.Call):
            if source.name(data.func).endswith("load_dataset"):
                name = constant(argument(data, "split"))
                return name if isinstance(name, str) and _HELD_OUT.match(name) else ""
            if not isinstance(data.func, ast.Attribute):
                return ""
            data = data.func.value
        else:
            return ""
    return ""
