"""A checkpoint of an adapter also holds a full model, and only that is loaded on resume.

## Why is this bad?
`Trainer.train(resume_from_checkpoint=...)` looks for `model.safetensors` first. If it is there, the
Trainer loads that file, not strictly, and never reads the adapter: optimizer, scheduler and step
are those of the checkpoint, the adapter is a fresh one. What it prints is a list of missing keys.
The file usually comes from a callback that saves the base or the merged model into the checkpoint.

## Example
```checkpoint
checkpoint-100 global_step=100 adapter_model.safetensors=5120 model.safetensors=101040   # TG131
```

## Instead
Save a full model into a folder of its own, and remove it from the checkpoint before resuming.

```checkpoint
checkpoint-100 global_step=100 adapter_model.safetensors=5120
```

A `model.safetensors` that holds the whole PeftModel, adapter included, is loaded rightly:

```checkpoint
checkpoint-100 adapter_model.safetensors=5120 model.safetensors=106120 adapter_in_model=true
```

## Source
`Trainer._load_from_checkpoint` of transformers 5.23, read and run: after the resume every lora_B
was zero again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.adapter import WEIGHTS_NAME
from trainguard.facts.checkpoint import CheckpointFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check

_MODEL = "model.safetensors"


@check("TG131", severity=Severity.ERROR, precision=Precision.EXACT)
def full_model_beside_adapter(checkpoints: Sequence[CheckpointFacts]) -> Iterator[Finding]:
    """Fire once, at the latest checkpoint that holds both."""
    both = [
        one
        for one in checkpoints
        if {WEIGHTS_NAME, _MODEL} <= one.files.keys() and not one.adapter_in_model
    ]
    if not both:
        return
    latest = max(both, key=lambda one: one.number or 0)
    yield Finding(
        f"{latest.name} holds {_MODEL} ({latest.files[_MODEL]} bytes) next to {WEIGHTS_NAME}, so "
        f"a Trainer that resumes loads the model and never the adapter ({len(both)} of "
        f"{len(checkpoints)} checkpoints)",
        fix=f"move {_MODEL} out of the checkpoint and save full models elsewhere",
        location=latest.location(_MODEL, f"{latest.files[_MODEL]} bytes"),
        evidence={"checkpoints": [one.name for one in both[:100]], "count": len(both)},
    )
