"""The saved optimizer holds no parameter.

## Why is this bad?
An optimizer without parameters changes nothing, and its `step` does not complain. The Trainer
hands it the parameters that require a gradient: if everything is frozen, its groups are empty. With
gradient checkpointing, which SFTTrainer switches on, such a run still computes a loss and a
backward pass, logs a `grad_norm` of 0.0 and writes checkpoints. `optimizer.pt` has 1.6 KB then.

## Example
```checkpoint
checkpoint-100 global_step=100 optimizer.pt=1657 optimizer_is_empty=true   # TG135
```

## Instead
Make the adapter trainable: `PeftModel.from_pretrained(..., is_trainable=True)`, or a config for
`get_peft_model` whose `inference_mode` is false.

```checkpoint
checkpoint-100 global_step=100 optimizer.pt=15895 optimizer_is_empty=false
```

The size alone proves nothing, since SGD without momentum has no state either, so a file that
could not be read as a saved optimizer is not judged:

```checkpoint
checkpoint-100 global_step=100 optimizer.pt=1657
```

## Source
Run with transformers 5.23 and torch 2.13 on an adapter loaded without `is_trainable=True`. The
file's instructions are read, never carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.checkpoint import OPTIMIZER, CheckpointFacts, finished
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG135", severity=Severity.ERROR, precision=Precision.HIGH, explains=("TG105", "TG130"))
def empty_optimizer(checkpoints: Sequence[CheckpointFacts]) -> Iterator[Finding]:
    """Fire once, at the first checkpoint whose optimizer is empty."""
    empty = [one for one in finished(checkpoints) if one.optimizer_is_empty]
    if not empty:
        return
    first = empty[0]
    yield Finding(
        f"{OPTIMIZER} in {first.name} holds 0 parameters ({first.files.get(OPTIMIZER, 0)} bytes), "
        f"so its steps changed no weight ({len(empty)} of {len(checkpoints)} checkpoints)",
        fix="make the adapter trainable (is_trainable=True in PeftModel.from_pretrained) and train "
        "again",
        location=first.location(OPTIMIZER, f"{first.files.get(OPTIMIZER, 0)} bytes"),
        evidence={"checkpoints": [one.name for one in empty[:100]], "count": len(empty)},
    )
