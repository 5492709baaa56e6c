"""No label of a step is supervised.

## Why is this bad?
Every label is -100, so the step trains on nothing. transformers divides by zero and gets a NaN
loss that the log shows as 0.0; TRL clamps the divisor and gets a true 0.0. The gradient is zero
in both, the weights stay. The usual causes: a response template that is tokenised differently in
context, a prompt that fills the whole window, a collator that masks the pad token where pad is
also the token that the labels consist of.

One step alone is a warning (a batch of rows that were all cut), three in a row are an error.

## Example
```steps
step=1 loss=nan supervised_tokens=0 grad_norm=0.0   # TG301
step=2 loss=nan supervised_tokens=0 grad_norm=0.0
step=3 loss=nan supervised_tokens=0 grad_norm=0.0
```

## Instead
Count the labels of one batch before training: `(batch["labels"] != -100).sum()`.

```steps
step=1 loss=2.3 supervised_tokens=117 grad_norm=1.2
step=2 loss=2.1 supervised_tokens=1 grad_norm=1.1
```

## Source
trl#1053, unsloth#1128: the most repeated data question of both projects. All labels -100
measured with transformers 5.23 and trl 1.16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.steps import StepFacts, consecutive, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check

ERROR_AFTER = 3


@check(
    "TG301",
    severity=Severity.ERROR,
    precision=Precision.EXACT,
    explains=("TG105", "TG130", "TG144", "TG402", "TG403", "TG501", "TG502", "TG503"),
)
def no_supervised_tokens(steps: Sequence[StepFacts]) -> Iterator[Finding | NotChecked]:
    """Fire at the first step of the longest run of steps without a supervised label."""
    counted = observed(steps, "supervised_tokens")
    if not counted:
        yield NotChecked("the labels of the batches were not observed")
        return
    runs = list(consecutive(counted, lambda step: step.supervised_tokens == 0))
    if not runs:
        return
    longest = max(runs, key=len)
    empty = sum(map(len, runs))
    yield Finding(
        f"{longest[0].name}: every label is -100, so the step trains on nothing "
        f"({empty} of {len(counted)} steps)",
        fix="look at the labels of one batch: match the response template by token ids, raise "
        "max_length, and drop rows that keep no answer",
        severity=Severity.ERROR if len(longest) >= ERROR_AFTER else Severity.WARNING,
        location=place(steps, longest[0], "supervised_tokens"),
        evidence={"steps_without_labels": empty, "steps": len(counted), "in_a_row": len(longest)},
    )
