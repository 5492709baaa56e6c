"""Steps train on a handful of tokens.

## Why is this bad?
Where only short answers are supervised ("42"), a step of a small batch learns from a few tokens,
and its gradient is mostly noise. The loss curve shows this as jumps, not as an error.

## Example
```steps
step=1 loss=2.3 supervised_tokens=3   # TG390
step=2 loss=1.1 supervised_tokens=4
step=3 loss=2.9 supervised_tokens=3
```

## Instead
Put more rows into a step (`gradient_accumulation_steps`), or supervise the reasoning too.

```steps
step=1 loss=2.3 supervised_tokens=310
step=2 loss=2.2 supervised_tokens=295
step=3 loss=2.2 supervised_tokens=6
```

Where the labels were not seen, nothing is said:

```steps
step=1 loss=2.3
```

## Source
A rule of this house, made for the example: the median step has fewer than 16 supervised tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from trainguard.facts.steps import StepFacts, observed, place
from trainguard.findings import Finding, NotChecked, Precision, Severity
from trainguard.registry import check


@check("TG390", severity=Severity.WARNING, precision=Precision.MEDIUM)
def few_supervised_tokens(
    steps: Sequence[StepFacts], *, fewest: int = 16
) -> Iterator[Finding | NotChecked]:
    """Fire if the median step has fewer supervised tokens than `fewest`."""
    counted = observed(steps, "supervised_tokens")
    if not counted:
        yield NotChecked("the labels of the batches were not observed")
        return
    middle = median(step.supervised_tokens or 0 for step in counted)
    if middle >= fewest:
        return
    yield Finding(
        f"the median step trains on {middle:g} tokens, fewer than {fewest}",
        fix="raise gradient_accumulation_steps, or supervise more of each row",
        location=place(steps, counted[0], "supervised_tokens"),
        evidence={"median": middle, "steps": len(counted)},
    )
