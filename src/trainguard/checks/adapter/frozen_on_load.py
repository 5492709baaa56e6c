"""An adapter that is to be trained further loads frozen.

## Why is this bad?
`PeftModel.from_pretrained(base, folder)` loads an adapter for inference: none of its parameters
has a gradient. With gradient checkpointing, which `SFTTrainer` switches on by default, nothing
fails either: the run logs a loss, a `grad_norm` of 0.0, and saves the adapter that it began with.

The `inference_mode` in the file has no part in this: `save_pretrained` always writes `true`, and
the loader overrides it. It counts on one other way only, where the saved config itself is given
to `get_peft_model` or as a trainer's `peft_config`: there `true` freezes everything.

## Example
With `--for train`:

```adapter
intent purpose=train
config peft_type=LORA r=8 inference_mode=true   # TG109
```

## Instead
Load it with `is_trainable=True`:

```python
model = PeftModel.from_pretrained(base, "path/to/adapter", is_trainable=True)
```

or, where only the config is reused:

```python
config = PeftConfig.from_pretrained("path/to/adapter")
config.inference_mode = False
model = get_peft_model(base, config)
```

Without the stated intent to train there is nothing to report, whatever `inference_mode` says:

```adapter
config peft_type=LORA r=8 inference_mode=true
```

```adapter
intent purpose=infer
config peft_type=LORA r=8 inference_mode=true
```

Prompt learning stays trainable on loading, and `is_trainable=True` is an error there:

```adapter
intent purpose=train
config peft_type=PROMPT_TUNING num_virtual_tokens=8 inference_mode=true
```

## Source
Read and run in PEFT 0.21.2 and TRL 1.16; peft#2840, trl#3926.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.checks.adapter._tuners import FROZEN_ON_LOAD
from trainguard.facts.adapter import AdapterConfig
from trainguard.facts.intent import Intent
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG109", severity=Severity.INFO, precision=Precision.HIGH)
def frozen_on_load(config: AdapterConfig, intent: Intent) -> Iterator[Finding]:
    """Remind whoever is about to train the adapter of the argument that makes it trainable."""
    if intent.purpose != "train" or config.peft_type not in FROZEN_ON_LOAD:
        return
    yield Finding(
        f"PeftModel.from_pretrained(base, dir) loads this {config.peft_type} adapter frozen, and "
        "a run with gradient checkpointing then goes on without training it",
        fix="load it with PeftModel.from_pretrained(base, dir, is_trainable=True); where the saved "
        "config is given to get_peft_model or peft_config, set config.inference_mode = False",
        location=config.location("peft_type"),
        evidence={"peft_type": config.peft_type},
    )
