"""A learned prompt without a task type is never put before the input.

## Why is this bad?
The class that a loaded model gets depends on `task_type`, and only the classes of the tasks
(`PeftModelForCausalLM`, ...) put the virtual tokens before the input. With `task_type` null, in a
config that was edited or written by a tool, the prompt is loaded, counted among the parameters
and then left out of every forward pass: the answers are those of the base model, and training it
further has no effect. `PeftModel.from_pretrained` does not warn (`get_peft_model` stops with a
bare `KeyError`).

## Example
```adapter
config peft_type=PROMPT_TUNING num_virtual_tokens=8
config task_type=none   # TG116
```

```adapter
config peft_type=PREFIX_TUNING num_virtual_tokens=8   # TG116
```

## Instead
State the task: `PromptTuningConfig(task_type="CAUSAL_LM", ...)`.

```adapter
config peft_type=PROMPT_TUNING num_virtual_tokens=8 task_type=CAUSAL_LM
```

Tuners that change modules work under any class:

```adapter
config peft_type=LORA r=8 task_type=none
```

## Source
PEFT 0.21.2: `PeftModel.forward` calls the base model; loaded there with each of the three types.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.adapter import AdapterConfig
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_PROMPTS = frozenset({"PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"})


@check("TG116", severity=Severity.ERROR, precision=Precision.EXACT)
def void_prompt_task(config: AdapterConfig) -> Iterator[Finding]:
    """Fire if nothing says which task the prompt belongs to."""
    if config.peft_type not in _PROMPTS or config.values.get("task_type") is not None:
        return
    key = "task_type" if "task_type" in config.values else "peft_type"
    tokens = config.number("num_virtual_tokens")
    count = f"{tokens:g} " if tokens is not None and tokens < 10**6 else ""
    yield Finding(
        f"task_type is null, so PEFT never puts the {count}virtual tokens before the input, and "
        "the model answers like its base",
        fix='set task_type in adapter_config.json to that of the training, such as "CAUSAL_LM"',
        location=config.location(key),
        evidence={"peft_type": config.peft_type},
    )
