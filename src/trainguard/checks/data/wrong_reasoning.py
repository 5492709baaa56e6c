"""Reasonings end in another number than their answer.

## Why is this bad?
Rejection sampling keeps reasonings whose result is right. A file in which they end in another
number was not filtered, was filtered by a comparison that accepts everything, or pairs
reasonings with the answers of other rows. Training on it teaches wrong steps.

Compared are the last answer tag, or else the last number, with the answer of the row, within 5 %.

## Example
```data
split rft rows=900 reasoned=900 wrong=300 first_wrong=rft.json:3 # TG709
```

## Instead
Grade every row again before it is written.

```data
split rft rows=900 reasoned=900 wrong=4
```

## Source
Yuan et al. (2023), Scaling Relationship on Learning Mathematical Reasoning: only right reasoning
paths are kept. A few rows restate another number last, which is no error of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import SplitFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

SHARE = 0.05
FEWEST = 2


@check("TG709", severity=Severity.ERROR, precision=Precision.HIGH)
def wrong_reasoning(splits: Sequence[SplitFacts], *, share: float = SHARE) -> Iterator[Finding]:
    """Fire where more than a few reasonings contradict their answers."""
    for split in splits:
        if split.wrong < FEWEST or split.wrong <= share * split.reasoned:
            continue
        yield Finding(
            f"{split.wrong} of {split.reasoned} reasonings of {split.name} do not end in the "
            f"answer of their row (first: {split.first_wrong}): they teach wrong steps",
            fix="grade every row again and keep those whose reasoning ends in the answer",
            location=Location(path=split.path, key=split.name, value=split.first_wrong or None),
            evidence={"reasoned": split.reasoned, "wrong": split.wrong},
        )
