"""A loss of one's own ignores how many tokens the step has.

## Why is this bad?
With gradient accumulation the Trainer passes `num_items_in_batch`, the supervised tokens of the
whole step, and expects a sum divided by it. For models that take loss options it then does not
divide by the number of accumulated batches any more. An override that returns the mean of its own
batch makes loss and gradients as many times too large as batches are accumulated, and clipping
hides it as a smaller step.

## Example
```source
from transformers import Trainer

class Mine(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # TG805
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        return loss_function(logits, labels)
```

## Instead
```source
from transformers import Trainer

class Mine(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        logits = model(**inputs).logits
        total = loss_function(logits, labels, reduction="sum")
        return total / num_items_in_batch
```

What the Trainer computes itself is in order, and so is a trainer that says that its model takes
no such options:

```source
from transformers import Trainer

class Weighted(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        return loss * self.weight

class Own(Trainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return loss_function(model(**inputs).logits, inputs["labels"])
```

## Source
transformers issues 34191, 35438, 37766. Measured with transformers 5.23: accumulation over 1, 4
and 8 batches logged a loss of 6.03, 24.1 and 48.2.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.facts.source import SourceFacts, parameters
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

ITEMS = "num_items_in_batch"
#: By these a trainer keeps the division by accumulated batches.
_OPT_OUTS = frozenset({"model_accepts_loss_kwargs", "accepts_loss_kwargs", "loss_is_scaled_for_ga"})


@check("TG805", severity=Severity.WARNING, precision=Precision.HIGH)
def num_items_ignored(source: SourceFacts) -> Iterator[Finding]:
    """Fire on an override of compute_loss that never reads the number of items."""
    for function in source.functions:
        owner = source.owner(function)
        if function.name != "compute_loss" or owner is None or not _is_trainer(source, owner):
            continue
        given = parameters(function)
        if ITEMS not in given and function.args.kwarg is None:
            continue
        if _uses_items(function) or _opts_out(owner) or _computes_nothing(function):
            continue
        yield Finding(
            f"{owner.name}.compute_loss never uses {ITEMS}: with gradient accumulation over n "
            "batches, and a model whose forward takes **kwargs, loss and gradients come out n "
            "times too large",
            fix=f"return the summed loss divided by {ITEMS}, or set self.model_accepts_loss_kwargs "
            "= False in __init__",
            location=source.at(function),
        )


def _is_trainer(source: SourceFacts, owner: ast.ClassDef) -> bool:
    return any(source.name(base).endswith("Trainer") for base in owner.bases)


def _uses_items(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the number is read, or all options are passed on."""
    options = function.args.kwarg.arg if function.args.kwarg else None
    return any(
        isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Load)
        and node.id in (ITEMS, options)
        for node in ast.walk(function)
    )


def _opts_out(owner: ast.ClassDef) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr in _OPT_OUTS)
        or (isinstance(node, ast.Name) and node.id in _OPT_OUTS)
        for node in ast.walk(owner)
    )


def _computes_nothing(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it hands the work on to another method or raises."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(
        isinstance(call.func, ast.Attribute) and call.func.attr.lstrip("_").endswith("compute_loss")
        for call in calls
    ) or not any(isinstance(node, ast.Return) and node.value for node in ast.walk(function))
