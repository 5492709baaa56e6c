"""The active adapter does not require gradients.

## Why is this bad?
Training leaves the adapter exactly as it was loaded. `PeftModel.from_pretrained(base, dir)`
freezes what it loads unless it is told `is_trainable=True`, and so does
`get_peft_model(base, PeftConfig.from_pretrained(dir))`, because every saved config says
`inference_mode: true`. The file is not at fault: every healthy adapter says so.

The plain Trainer stops with "element 0 of tensors does not require grad". With gradient
checkpointing, which TRL switches on by default, the output of the embedding requires a gradient,
so the backward pass succeeds and nothing is said: a normal loss, `grad_norm: 0.0`, exit 0.

## Example
```model
model adapters=default peft_type=LORA adapter_tensors=28 trainable_tensors=0   # TG201
```

With `bias="all"` the biases still train, so the gradient norm is not zero. Other tensors may be
meant to train beside a frozen adapter, so this is a warning:

```model
model adapters=default peft_type=LORA adapter_tensors=28 trainable_tensors=14   # TG201
```

## Instead
```python
model = PeftModel.from_pretrained(base, adapter_dir, is_trainable=True)
```

```model
model adapters=default peft_type=LORA adapter_tensors=28 trainable_adapter_tensors=28
```

A model without an adapter has none that could be frozen:

```model
model trainable_tensors=42
```

## Source
peft#282, trl#1937, alpaca-lora#352; every loading route measured with peft 0.21, transformers
5.23 and trl 1.16.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.model import ModelFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check(
    "TG201",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG105", "TG130", "TG135", "TG202", "TG402", "TG403", "TG503"),
)
def frozen_adapter(model: ModelFacts) -> Iterator[Finding]:
    """Fire if adapters are active and none of their tensors requires a gradient."""
    if not model.adapter_tensors or model.trainable_adapter_tensors:
        return
    names = ",".join(model.adapters)
    silent = (
        "; gradient checkpointing keeps the backward pass from raising"
        if model.gradient_checkpointing
        else ""
    )
    yield Finding(
        f"none of the {model.adapter_tensors} tensors of the active adapter {names!r} requires a "
        f"gradient, so training leaves it as it was loaded{silent}",
        fix="load it with PeftModel.from_pretrained(base, adapter_dir, is_trainable=True); if it "
        "came from get_peft_model(base, config), set config.inference_mode = False before",
        severity=Severity.WARNING if model.trainable_tensors else Severity.ERROR,
        location=Location(
            key=f"adapters={names}",
            value=f"{model.adapter_example or 'every tensor'}: requires_grad False",
        ),
        evidence={
            "adapters": list(model.adapters),
            "adapter_tensors": model.adapter_tensors,
            "trainable_elements": model.trainable_elements,
        },
    )
