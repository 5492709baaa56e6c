"""The evaluation asks for numbers and answers that training has seen together.

## Why is this bad?
"How many gram are 6 kg?" and "Convert 6 kg to gram" share no sentence, and the same exercise. If
far more rows of the evaluation have their numbers and their answer in common with a training row
than rows of the training set have with each other, then the evaluation was derived from the
training rows, in other words. A model that only remembers numbers scores on them.

The expected share is that of one more row drawn like the training rows: one minus the share of
training rows whose key occurs once (Good's estimate). A small world of exercises, where any two
sets share most keys, is so recognised as one and not accused.

## Example
```data
pair valid train rows=1000 distinct=1000 keyed=1000 keys=730 expected_keys=0.2 # TG705
```

## Instead
Split by exercise, then phrase. Where keys are shared, report the accuracy on seen and unseen keys
apart: `audit_evaluation(..., train=rows)` does.

```data
pair valid train rows=1000 distinct=1000 keyed=1000 keys=612 expected_keys=0.61
```

```data
pair valid train rows=40 distinct=40 keyed=12 keys=5 expected_keys=0.1
```

## Source
A model that never saw an evaluation row scored 0.165 on rows with a seen key and 0.039 on the
others. Good (1953) for the estimate; the bound on chance is Hoeffding's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from trainguard.facts.data import PairFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

FEWEST = 20
CHANCE = 1e-6
#: The estimate is of the training set as a whole; less than this is within its own error.
EXCESS = 0.1


@check("TG705", severity=Severity.WARNING, precision=Precision.HIGH)
def shared_answer_keys(pairs: Sequence[PairFacts], *, excess: float = EXCESS) -> Iterator[Finding]:
    """Fire where the share of common keys is far above that of independent rows."""
    for pair in pairs:
        if pair.keyed < FEWEST:
            continue
        above = pair.keys / pair.keyed - pair.expected_keys
        if above < excess or math.exp(-2 * pair.keyed * above**2) > CHANCE:
            continue
        yield Finding(
            f"{pair.keys} of {pair.keyed} rows of {pair.held_out} have their numbers and their "
            f"answer in common with a row of {pair.other}, where {pair.expected_keys:.0%} would by "
            "chance: they are the same exercises in other words",
            fix="split by exercise, and report the accuracy on seen and unseen keys apart",
            location=Location(key=f"{pair.held_out} {pair.other}", value=f"{pair.keys}"),
            evidence={
                "keyed": pair.keyed,
                "keys": pair.keys,
                "expected_keys": pair.expected_keys,
            },
        )
