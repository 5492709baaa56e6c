"""The ranks of a data-parallel run no longer hold the same weights.

## Why is this bad?
Each process now trains a model of its own, gradients are averaged between different models, and
what is saved is the one of rank zero, which has seen a fraction of the data. A model that was never
wrapped in DistributedDataParallel, an update or a clipping that only one rank makes, and a
rank that resumed from another checkpoint end here. The log of rank zero looks healthy.

## Example
```steps
steps=1-2 loss=2.3 ranks=2 ranks_apart_tensors=0
step=3 loss=2.2 ranks=2 ranks_apart='["lm_head.weight"]' ranks_apart_tensors=1   # TG901
```

## Instead
Wrap the model (`accelerator.prepare`, DistributedDataParallel), and let every rank take the same
steps. Training that synchronises now and then by design (LocalSGD) ignores this check.

```steps
steps=1-9 loss=2.3 ranks=2 ranks_apart_tensors=0
```

## Source
Section 5 of the runtime measurements: a drift of 1e-6 on one rank was found at the same step, while
the norm of the reduced gradient stays equal on all ranks. 64 elements of each trained tensor are
compared to the bit after every step, by a hash of 24 bits; ranks that begin with different weights
are no replicas, and nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.steps import StepFacts, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG901", severity=Severity.WARNING, precision=Precision.HIGH)
def ranks_apart(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first step after which ranks that were equal hold different weights."""
    compared = observed(steps, "ranks_apart_tensors")
    if not compared:
        yield NotChecked("no weights of several ranks were compared")
        return
    for step in compared:
        if step.ranks_apart_tensors:
            yield Finding(
                f"{step.name}: {step.ranks_apart_tensors} trained tensors differ between the "
                f"{step.ranks} ranks, first {step.ranks_apart[0]}, so each trains a model of its "
                f"own and one of them is saved",
                fix="wrap the model in DistributedDataParallel (accelerator.prepare) and let every "
                "rank make the same updates",
                location=place(steps, step, "ranks_apart_tensors"),
                evidence={"names": list(step.ranks_apart), "ranks": step.ranks},
            )
            return
