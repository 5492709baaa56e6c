"""The saved optimizer holds NaN or infinite elements.

## Why is this bad?
AdamW keeps running means of the gradients and their squares. A NaN that has come into one stays
there, and the first update after resuming writes it into the weight, whatever the gradient is. It
comes from a step whose gradient was not finite; mostly that step has spoilt the weights as well,
which TG106 and TG144 tell.

## Example
```checkpoint
checkpoint-100 global_step=100 optimizer.pt=15895 optimizer_nonfinite='{"0.exp_avg": 3}'   # TG136
```

## Instead
Resume from a checkpoint before the step that was not finite, or without `optimizer.pt`; then the
means start anew.

```checkpoint
checkpoint-100 global_step=100 optimizer.pt=15895 optimizer_nonfinite='{}'
```

Of a very large file, and of one in another format than torch's own, the values are not read:

```checkpoint
checkpoint-100 global_step=100 optimizer.pt=15895000000
```

## Source
torch 2.13: AdamW with a NaN put into its `exp_avg`. The tensors are found by following the file's
instructions; nothing is unpickled. Only the last checkpoint's are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trainguard.facts.adapter import brief
from trainguard.facts.checkpoint import OPTIMIZER, CheckpointFacts, finished
from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import check


@check("TG136", severity=Severity.ERROR, precision=Precision.HIGH)
def nonfinite_optimizer_state(checkpoints: Sequence[CheckpointFacts]) -> Iterator[Finding]:
    """Fire at the checkpoint whose optimizer was read and holds such elements."""
    for checkpoint in finished(checkpoints):
        if broken := checkpoint.optimizer_nonfinite:
            yield _finding(checkpoint, broken)


def _finding(checkpoint: CheckpointFacts, broken: Mapping[str, int]) -> Finding:
    first, elements = next(iter(broken)), sum(broken.values())
    return Finding(
        f"{elements} elements in {len(broken)} tensors of {OPTIMIZER} in {checkpoint.name} are NaN "
        f"or infinite (first {brief(first)}), so the first update after resuming makes the "
        "weights so",
        fix="resume from a checkpoint before it, or take optimizer.pt away to start the means anew",
        location=checkpoint.location(OPTIMIZER, f"{elements} elements"),
        evidence={"elements": elements, "tensors": list(broken)[:100], "count": len(broken)},
    )
