"""An adapter is loaded for inference and then trained.

## Why is this bad?
`PeftModel.from_pretrained(base, folder)` loads the adapter frozen: none of its tensors requires a
gradient. The plain `Trainer` then raises; with gradient checkpointing, as TRL switches it on,
nothing does: the loss looks normal, the gradient norm is 0.0, and the adapter that is saved is
the one that was loaded. The value `inference_mode` in the adapter's file does not matter; the
call does.

A file that only serves the adapter is not meant: the model must reach a trainer or an optimizer,
here or in a function of the project.

## Example
```source
from peft import PeftModel
from trl import SFTTrainer

model = PeftModel.from_pretrained(base, "out/adapter")  # TG801
trainer = SFTTrainer(model=model, args=args, train_dataset=train)
trainer.train()
```

Across functions:

```source
import torch
from peft import AutoPeftModelForCausalLM

def load(folder):
    return AutoPeftModelForCausalLM.from_pretrained(folder)  # TG801

def main():
    model = load("out/adapter")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
```

## Instead
```source
from peft import PeftModel
from trl import SFTTrainer

model = PeftModel.from_pretrained(base, "out/adapter", is_trainable=True)
trainer = SFTTrainer(model=model, args=args, train_dataset=train)
```

Serving it, or using it as the fixed reference of another model, needs no gradients:

```source
from peft import PeftModel
from trl import DPOTrainer

reference = PeftModel.from_pretrained(base, "out/adapter")
trainer = DPOTrainer(policy, ref_model=reference, args=args, train_dataset=pairs)
server = PeftModel.from_pretrained(base, "out/adapter").eval()
print(server.generate(**batch))
```

```source
from peft import PeftModel
from transformers import Trainer

model = PeftModel.from_pretrained(base, "out/adapter")
for name, parameter in model.named_parameters():
    parameter.requires_grad = "lora_" in name
Trainer(model=model, args=args).train()
```

## Source
PEFT: `from_pretrained(..., is_trainable=False)` sets `inference_mode` on the config that it
loads. The story that trainguard was written for lost weeks to it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trainguard.checks.source._flow import Value, training_of
from trainguard.facts.source import SourceFacts, argument, constant, unpacks
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG801", severity=Severity.ERROR, precision=Precision.HIGH)
def adapter_loaded_frozen(source: SourceFacts) -> Iterator[Finding]:
    """Fire on a load without `is_trainable` that reaches a training."""
    for call in source.calls:
        if not _loads_frozen(source, call):
            continue
        training = training_of(Value(source, call))
        if training is not None:
            where = ast.unparse(training.func)
            yield Finding(
                f"{ast.unparse(call.func)} loads the adapter frozen, and {where} is to train it: "
                "no weight will change",
                fix="pass is_trainable=True to the call that loads the adapter",
                location=source.at(call),
            )


def _loads_frozen(source: SourceFacts, call: ast.Call) -> bool:
    name = source.name(call.func)
    kind, _, method = name.removeprefix("peft.").rpartition(".")
    is_loader = kind.startswith(("PeftModel", "AutoPeftModel")) and method == "from_pretrained"
    if not is_loader or unpacks(call):
        return False
    given = argument(call, "is_trainable", 3)
    return given is None or constant(given) is False
