"""A quantized model is prepared for training after its adapter was added.

## Why is this bad?
`prepare_model_for_kbit_training` freezes every parameter of the model that it is given. Before
the adapter is added these are the base weights, which is right. Afterwards they include the
adapter: nothing is trainable, and with the gradient checkpointing that the same call switches on
nothing raises either.

## Example
```source
from peft import get_peft_model, prepare_model_for_kbit_training

model = get_peft_model(model, config)
model = prepare_model_for_kbit_training(model)  # TG803
```

## Instead
```source
from peft import get_peft_model, prepare_model_for_kbit_training

model = prepare_model_for_kbit_training(model)
model = get_peft_model(model, config)
```

## Source
PEFT: the function sets `requires_grad = False` on all parameters; its documentation calls it
before `get_peft_model`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.facts.source import SourceFacts, argument
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_PREPARES = (
    "peft.prepare_model_for_kbit_training",
    "peft.utils.prepare_model_for_kbit_training",
    "peft.prepare_model_for_int8_training",
)
_WRAPS = frozenset({"peft.get_peft_model", "peft.PeftModel.from_pretrained"})


@check("TG803", severity=Severity.ERROR, precision=Precision.HIGH)
def kbit_preparation_after_wrapping(source: SourceFacts) -> Iterator[Finding]:
    """Fire where what is prepared was wrapped before."""
    for call in source.calls_of(*_PREPARES):
        model = argument(call, "model", 0)
        value = source.bound(model) if isinstance(model, ast.Name) else model
        if isinstance(value, ast.Call) and source.name(value.func) in _WRAPS:
            yield Finding(
                f"prepare_model_for_kbit_training comes after {ast.unparse(value.func)} of line "
                f"{value.lineno} and freezes the adapter with the base: nothing is left to train",
                fix="call prepare_model_for_kbit_training on the base model, before the adapter "
                "is added",
                location=source.at(call),
            )
