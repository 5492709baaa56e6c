"""The score is no better than answering without reading the question.

## Why is this bad?
An accuracy of 0.62 is no knowledge where 62 % of the expected answers are the same, and a third
of all conversions may be solved by copying the number. A procedure that needs no model and gets
as many right shows what the score is worth: nothing yet. The same holds for a look-up of the
question's numbers in the training rows.

## Example
```evaluation
score rows=100 right=37 answered=100 constant=37   # TG611
```

```evaluation
score rows=100 right=60 answered=100 constant=4 looked_up=73   # TG611
```

## Instead
Report the baseline beside the score, and balance the answers of the evaluation rows.

```evaluation
score rows=100 right=81 answered=100 constant=4 copied=2
```

A model that knows nothing yet, before training, is not accused:

```evaluation
score rows=100 right=0 answered=3 constant=4
```

## Source
In a real unit-conversion set the best constant answer got 3.7 %, copying the number 2.1 %, a
memoriser of numbers and answers 73 %.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_score import ScoreFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Below this share a score claims nothing that a baseline could take away.
WORTH_DOUBTING = 0.1


@check("TG611", severity=Severity.WARNING, precision=Precision.HIGH)
def score_within_baseline(score: ScoreFacts, *, least: float = WORTH_DOUBTING) -> Iterator[Finding]:
    """Fire where a procedure without a model gets as many answers right."""
    baseline, name = score.baseline
    if score.accuracy < least or score.right > baseline:
        return
    yield Finding(
        f"{score.right:.4g} of {score.rows} answers are right, and {name} gets {baseline:.4g}: the "
        "score does not show that the model knows anything",
        fix="report the baseline beside the score, and evaluate on rows that it gets wrong",
        location=Location(key="right", value=f"{score.right:.4g}"),
        evidence={"rows": score.rows, "right": score.right, "baseline": baseline, "by": name},
    )
