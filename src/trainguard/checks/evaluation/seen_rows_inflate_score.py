"""The score rests on rows that training has seen.

## Why is this bad?
Two rows can share no sentence and still be the same exercise: the same numbers with the same
answer, in other words. A model that has learnt the training rows by heart then scores on the
evaluation rows that repeat them and fails on the others, and the total says neither. The
accuracy on the rows that training has not seen is the one to report.

A row is seen if its question occurs in the training rows, or its numbers together with its answer
and its rarer words: `6 km in m` is not `6 kg in gram`. The finding needs a difference that
chance makes less than once in a thousand times (Fisher's exact test, one-sided).

## Example
```evaluation
score rows=100 right=45 answered=100 seen=50 seen_right=42   # TG612
```

## Instead
Split by exercise, not by row, and report both shares where rows overlap.

```evaluation
score rows=100 right=81 answered=100 seen=50 seen_right=42
```

```evaluation
score rows=100 right=81 answered=100 seen=0
```

## Source
A model that was never shown an evaluation row scored 0.165 on rows whose numbers and answer occur
in training, and 0.039 on the others; 73 % of the rows were of the first kind.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_score import ScoreFacts, fisher, wilson
from trainguard.findings import Finding, Location, NotChecked, Precision, Severity
from trainguard.registry import check

CHANCE = 1e-3


@check("TG612", severity=Severity.WARNING, precision=Precision.HIGH)
def seen_rows_inflate_score(score: ScoreFacts) -> Iterator[Finding | NotChecked]:
    """Fire where seen rows are right far more often than the others."""
    if score.seen is None:
        yield NotChecked("needs the training rows (train=...) to tell seen from unseen questions")
        return
    unseen, unseen_right = score.rows - score.seen, round(score.right) - score.seen_right
    if not score.seen or not unseen:
        return
    if fisher(score.seen_right, score.seen, unseen_right, unseen) >= CHANCE:
        return
    low, high = wilson(unseen_right, unseen)
    yield Finding(
        f"{score.seen_right} of {score.seen} answers are right on rows that training has seen, "
        f"and {unseen_right} of {unseen} on the others: the score of {score.accuracy:.4g} is "
        f"mostly memory (unseen: {unseen_right / unseen:.4g}, 95 % interval {low:.2f} to "
        f"{high:.2f})",
        fix="report the accuracy on unseen rows, and split by exercise instead of by row",
        location=Location(key="seen_right", value=f"{score.seen_right}/{score.seen}"),
        evidence={
            "seen": score.seen,
            "seen_right": score.seen_right,
            "unseen": unseen,
            "unseen_right": unseen_right,
        },
    )
