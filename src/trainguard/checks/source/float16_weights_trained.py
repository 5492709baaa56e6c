"""Weights that were loaded in float16 are trained as they are.

## Why is this bad?
float16 ends at 65504 and knows no step below 6e-8. Adam's epsilon of 1e-8 is zero in it, so that
updates divide by zero and weights become NaN after the first step; what does not overflow rounds
away. `fp16=True` does not help: its gradient scaler refuses float16 gradients ("Attempting to
unscale FP16 gradients").

## Example
```source
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

model = AutoModelForCausalLM.from_pretrained("base", dtype=torch.float16)  # TG817
args = TrainingArguments("out", fp16=True)
Trainer(model=model, args=args, train_dataset=train).train()
```

```source
import torch

model.half()  # TG817
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
```

## Instead
```source
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

model = AutoModelForCausalLM.from_pretrained("base", dtype=torch.float32)
args = TrainingArguments("out", fp16=True)
Trainer(model=model, args=args, train_dataset=train).train()
```

A float16 base under an adapter is the usual way: PEFT keeps the adapter in float32.

```source
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import SFTTrainer

model = AutoModelForCausalLM.from_pretrained("base", torch_dtype=torch.float16)
SFTTrainer(model, args=args, train_dataset=train, peft_config=LoraConfig()).train()
```

## Source
F62 of the failure catalogue: diffusers#6442, peft#1522. Measured with torch 2.13, AdamW at 1e-4:
21 of 21 tensors NaN after one step.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._flow import (
    DEPTH,
    Value,
    is_optimizer,
    training_of,
    training_of_uses,
)
from trainguard.facts.source import SourceFacts, argument, constant, unpacks
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

#: Where one of these is called or passed, something else than the loaded weights may be stepped:
#: an adapter, or DeepSpeed's copies in float32.
_OTHERS = (
    ".get_peft_model",
    ".PeftModel.from_pretrained",
    ".add_adapter",
    ".load_adapter",
    "deepspeed.initialize",
)
_OTHER_ARGUMENTS = frozenset({"peft_config", "deepspeed", "quantization_config"})
#: Optimizers whose epsilon is zero in float16.
_WITH_EPSILON = frozenset({"Adam", "AdamW", "NAdam", "RAdam"})


@check("TG817", severity=Severity.WARNING, precision=Precision.HIGH)
def float16_weights_trained(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a load in float16, or a `.half()`, that reaches a training of the weights."""
    for call in source.calls:
        if not _makes_float16(source, call) or _is_cast_back(source, call):
            continue
        training = _training(source, call)
        if training is None or _steps_others(source, training):
            continue
        yield Finding(
            f"{ast.unparse(training.func)} gets float16 weights to train: Adam's epsilon is zero "
            "in float16, and weights become NaN or stay where they are",
            fix="load the weights in float32, and let fp16=True or bf16=True do the arithmetic in "
            "16 bits",
            location=source.at(call),
        )


def _makes_float16(source: SourceFacts, call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr == "half":
        return not call.args and not call.keywords
    if call.func.attr != "from_pretrained" or unpacks(call):
        return False
    dtype = argument(call, "dtype") or argument(call, "torch_dtype")
    return dtype is not None and (
        constant(dtype) == "float16" or source.name(dtype) in ("torch.float16", "torch.half")
    )


def _is_cast_back(source: SourceFacts, call: ast.Call) -> bool:
    """Whether the module casts the same model, or the data of parameters, to another type."""
    model = _holder(source, call)
    for other in source.calls_of(".float", ".bfloat16", ".to"):
        method = other.func
        if not isinstance(method, ast.Attribute):
            continue
        owner = ast.unparse(method.value)
        casts = method.attr != "to" or "float" in ast.unparse(other)
        if casts and (owner.endswith(".data") or (model is not None and owner == model)):
            return True
    return False


def _holder(source: SourceFacts, call: ast.Call) -> str | None:
    """The name that the model has after a call: what it is assigned to, or what it is called on."""
    statement = source.statement(call)
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.targets[0])
    return ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else None


def _training(source: SourceFacts, call: ast.Call) -> ast.Call | None:
    """What trains the weights; an optimizer that has no epsilon in float16 is none."""
    model = call.func.value if isinstance(call.func, ast.Attribute) else None
    in_place = isinstance(source.parents[call], ast.Expr)
    if in_place and isinstance(model, ast.Name | ast.Attribute):
        found = training_of_uses(source, source.scope(call), model, call.lineno, DEPTH)
    else:
        found = training_of(Value(source, call))
    if found is None or not is_optimizer(source, found):
        return found
    return found if ast.unparse(found.func).rpartition(".")[2] in _WITH_EPSILON else None


def _steps_others(source: SourceFacts, training: ast.Call) -> bool:
    """Whether the module of the model or that of its training may step something else."""
    modules = [source, *(one for one in source.project.sources if training in one.calls)]
    return any(
        next(module.calls_of(*_OTHERS), None) is not None
        or any(
            keyword.arg in _OTHER_ARGUMENTS for call in module.calls for keyword in call.keywords
        )
        for module in modules
    )
