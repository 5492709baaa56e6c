"""The checkpoint's folder and its state disagree about the step.

## Why is this bad?
`resume_from_checkpoint=True` chooses the folder with the highest number; the step, the epoch and
the data to skip then come from `trainer_state.json`. Where the two differ, the folder was renamed
or files of two checkpoints were mixed, and the run trains on from another step than its name says:
it repeats or skips data and ends early or late. The Trainer compares the two nowhere.

## Example
```checkpoint
checkpoint-100 global_step=100
checkpoint-200 global_step=100   # TG133
```

## Instead
Copy the checkpoint again as a whole, or give the folder the number of its state.

```checkpoint
checkpoint-100 global_step=100
checkpoint-200 global_step=200
```

## Source
`get_last_checkpoint` and `Trainer._inner_training_loop` of transformers 5.23.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.checkpoint import CheckpointFacts
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG133", severity=Severity.WARNING, precision=Precision.HIGH)
def step_mismatch(checkpoints: Sequence[CheckpointFacts]) -> Iterator[Finding]:
    """Fire for each checkpoint whose folder and state differ."""
    for one in checkpoints:
        if one.number is None or one.global_step is None or one.number == one.global_step:
            continue
        yield Finding(
            f"trainer_state.json in {one.name} states step {one.global_step}, not {one.number}, "
            "so a resumed run goes on from another step than the folder's name says",
            fix=f"copy {one.name} again as a whole, or rename it to checkpoint-{one.global_step}",
            location=one.location("global_step", one.global_step),
            evidence={"folder": one.number, "global_step": one.global_step},
        )
