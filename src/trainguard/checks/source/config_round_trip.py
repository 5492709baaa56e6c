"""A new adapter is made from the config of a saved one and trained.

## Why is this bad?
Every adapter that PEFT saves has `"inference_mode": true` in its config, healthy ones included.
`get_peft_model(base, PeftConfig.from_pretrained(folder))` takes the word for it: the adapter has
no trainable tensor. Its weights are not loaded either: the result is a fresh, frozen adapter that
changes nothing.

## Example
```source
from peft import PeftConfig, get_peft_model
from trl import SFTTrainer

config = PeftConfig.from_pretrained("out/adapter")
model = get_peft_model(base, config)  # TG802
SFTTrainer(model, args=args, train_dataset=train).train()
```

## Instead
To go on with the adapter, load it:

```source
from peft import PeftModel
from trl import SFTTrainer

model = PeftModel.from_pretrained(base, "out/adapter", is_trainable=True)
SFTTrainer(model, args=args, train_dataset=train).train()
```

To start anew with the same settings, say so:

```source
from peft import LoraConfig, get_peft_model
from trl import SFTTrainer

config = LoraConfig.from_pretrained("out/adapter")
config.inference_mode = False
model = get_peft_model(base, config)
SFTTrainer(model, args=args, train_dataset=train).train()
```

## Source
PEFT's `save_pretrained` writes `inference_mode=True` and restores it on the live config;
`get_peft_model` honours what it is given: 0 trainable parameters, without a warning.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._flow import Value, training_of
from trainguard.facts.source import SourceFacts, argument, constant
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG802", severity=Severity.ERROR, precision=Precision.HIGH)
def config_round_trip(source: SourceFacts) -> Iterator[Finding]:
    """Fire where a loaded config makes the adapter that is trained."""
    for call in source.calls_of("peft.get_peft_model"):
        config = argument(call, "peft_config", 1)
        if config is None or not _is_loaded(source, config):
            continue
        training = training_of(Value(source, call))
        if training is not None:
            yield Finding(
                "get_peft_model is given the config of a saved adapter, whose inference_mode is "
                f"true: {ast.unparse(training.func)} gets a fresh adapter that is frozen",
                fix="load the adapter with PeftModel.from_pretrained(base, folder, "
                "is_trainable=True), or set config.inference_mode = False for a fresh one",
                location=source.at(call),
            )


def _is_loaded(source: SourceFacts, config: ast.expr) -> bool:
    """Whether the config comes from a folder and its inference_mode is left alone."""
    value = source.bound(config) if isinstance(config, ast.Name) else config
    if not isinstance(value, ast.Call) or argument(value, "inference_mode") is not None:
        return False
    name = source.name(value.func)
    if not (name.startswith("peft.") and name.endswith("Config.from_pretrained")):
        return False
    return not any(
        isinstance(target, ast.Attribute)
        and target.attr == "inference_mode"
        and constant(assigned) is False
        for target, assigned in source.assignments(source.scope(config))
    )
