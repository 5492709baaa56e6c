"""Two checkpoints of different steps hold the same weights.

## Why is this bad?
Every optimizer step with a learning rate and a gradient changes bytes. Where two checkpoints are
equal to the last bit, no step between them changed anything that is saved: the adapter was frozen,
its gradient or the learning rate was zero, every label was masked, or the trained parameters are
not among the saved ones. The log looks alive all the same, because the loss varies with the data.

## Example
```checkpoint
checkpoint-100 global_step=100 weights=a1
checkpoint-200 global_step=200 weights=a1   # TG130
checkpoint-300 global_step=300 weights=a1
```

Training stopped moving half-way, which is a warning:

```checkpoint
checkpoint-100 global_step=100 weights=a1
checkpoint-200 global_step=200 weights=b2
checkpoint-300 global_step=300 weights=b2   # TG130
```

## Instead
Find out why nothing moves before training on: print the number of trainable parameters, and look
at `grad_norm` and `learning_rate` in the log.

```checkpoint
checkpoint-100 global_step=100 weights=a1
checkpoint-200 global_step=200 weights=b2
```

Weights that were not compared (pickles, sharded state, very large models) say nothing:

```checkpoint
checkpoint-100 global_step=100
checkpoint-200 global_step=200
```

## Source
Run with transformers 5.23 and PEFT 0.21: an SFTTrainer on an adapter loaded without
`is_trainable=True` writes byte-identical checkpoints and ends without a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from trainguard.facts.checkpoint import CheckpointFacts, finished
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG130", severity=Severity.ERROR, precision=Precision.HIGH, explains=("TG105",))
def identical_checkpoints(
    checkpoints: Sequence[CheckpointFacts],
) -> Iterator[Finding | NotChecked]:
    """Fire at the first checkpoint whose weights are those of the one before it."""
    known = [one for one in finished(checkpoints) if one.weights is not None]
    if len(known) < 2:
        yield NotChecked("fewer than two checkpoints have weights that could be compared")
        return
    pairs = [
        (before, after)
        for before, after in pairwise(known)
        if before.weights == after.weights and before.global_step != after.global_step
    ]
    if not pairs:
        return
    before, after = pairs[0]
    always = len({one.weights for one in known}) == 1
    yield Finding(
        f"{after.name} holds the same weight bytes as {before.name} ({len(pairs)} of "
        f"{len(known) - 1} neighbouring pairs), so training changed nothing in between",
        fix="check that the run has trainable parameters and that grad_norm and the learning rate "
        f"are not 0 after step {before.global_step}, then train again",
        location=after.location(after.name, f"same weights as {before.name}"),
        evidence={
            "pairs": [[one.name, other.name] for one, other in pairs[:100]],
            "compared": len(known),
            "weight_bytes": after.weight_bytes,
        },
        severity=Severity.ERROR if always else Severity.WARNING,
    )
