"""The same questions get other answers when they are asked again.

## Why is this bad?
Greedy decoding is deterministic: but for rounding in batches of another shape, the same question
gets the same answer. Where it does not, the answers that were scored came from something else
than question and weights: a list that is read in order, a state that the evaluation left behind,
weights that changed in between. A score that cannot be had twice is nobody's.

With sampling answers differ, but not their worth: the finding then needs answers that were right
in the evaluation and are wrong again, far more often than the other way round (McNemar's exact
test, one in ten thousand).

## Example
```evaluation
repeat greedy rows=32 differing=31 body_only=30 again_only=0   # TG614
```

```evaluation
repeat sampling rows=32 differing=31 body_only=20 again_only=1   # TG614
```

## Instead
```evaluation
repeat greedy rows=32 differing=1 body_only=1 again_only=0
```

```evaluation
repeat sampling rows=32 differing=25 body_only=5 again_only=4
```

## Source
A parser that hands out the references in the order of the file scored 1.0 behind an untouched
model, and is right nowhere when other questions come first.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_probes import RepeatFacts
from trainguard.facts.evaluation_score import binomial_tail
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Rows that rounding in another batch may change.
FEW = 3
SHARE = 0.1
CHANCE = 1e-4


@check("TG614", severity=Severity.ERROR, precision=Precision.HIGH)
def answers_not_repeatable(repeat: RepeatFacts) -> Iterator[Finding]:
    """Fire where answers change that cannot, or their worth does."""
    turned = repeat.body_only + repeat.again_only
    is_greedy = repeat.decoding == "greedy"
    too_many = repeat.differing > max(FEW, SHARE * repeat.rows)
    by_luck = binomial_tail(repeat.body_only, turned, 0.5) if turned else 1.0
    if not (is_greedy and too_many) and by_luck > CHANCE:
        return
    yield Finding(
        f"{repeat.differing} of {repeat.rows} answers differ when the same questions are asked "
        f"again with {repeat.decoding} decoding ({repeat.body_only} were right only in the "
        f"evaluation, {repeat.again_only} only now): the score is not that of the model",
        fix="look for answers that depend on the order of the questions or on what ran before, "
        "and evaluate again",
        location=Location(key=repeat.decoding, value=f"{repeat.differing}/{repeat.rows}"),
        evidence={
            "rows": repeat.rows,
            "differing": repeat.differing,
            "body_only": repeat.body_only,
            "again_only": repeat.again_only,
        },
    )
