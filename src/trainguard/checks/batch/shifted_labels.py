"""The labels are shifted before the model shifts them again.

## Why is this bad?
Causal language models of transformers compare the output at one position with the label of the
next. With labels that are already the next token, the model learns the token after the next: the
loss curve is as good as ever, and the text it generates skips every other word.

The label is the next token at 99 of 100 supervised positions and the token itself at fewer than
90: text that repeats one token does not count. The last position has no next token.

## Example
```preflight
batch supervised=60 copied=3 copied_next=60   # TG305
```

## Instead
Let the labels be a copy of `input_ids`, masked with -100 and not moved.

```preflight
batch supervised=64 copied=64 copied_next=3
```

```preflight
batch supervised=60 copied=60 copied_next=60
```

A model that does not shift by itself needs them shifted:

```preflight
batch supervised=60 copied=3 copied_next=60 model_shifts=false
```

## Source
F37 of the failure catalogue: final loss 0.014 against 0.015 of the correct run, measured. The
shares are those under which no batch of a healthy run was reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.preflight import BatchFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

NEXT = 0.99
SAME = 0.9


@check(
    "TG305",
    severity=Severity.ERROR,
    precision=Precision.HIGH,
    explains=("TG302", "TG304", "TG306"),
)
def shifted_labels(batch: BatchFacts) -> Iterator[Finding]:
    """Fire if nearly all labels are the next token and the model shifts them once more."""
    if not batch.model_shifts or not batch.supervised:
        return
    moved = batch.copied_next / batch.supervised
    if moved < NEXT or batch.copied / batch.supervised >= SAME:
        return
    yield Finding(
        f"{batch.copied_next} of {batch.supervised} labels are the next token of the input and "
        "the model shifts them once more, so it learns the token after the next",
        fix="copy input_ids to labels without moving them; the model shifts them itself",
        location=Location(key="copied_next", value="labels[t] == input_ids[t + 1]"),
        evidence={
            "copied_next": batch.copied_next,
            "copied": batch.copied,
            "supervised": batch.supervised,
        },
    )
