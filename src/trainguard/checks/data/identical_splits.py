"""Two splits of a data set hold the same rows.

## Why is this bad?
If the validation set is the test set, every choice made by the first is made by the second: the
best checkpoint, the prompt, the learning rate. The final score is then that of the selection. If
an evaluation set is the training set, it measures memory.

## Example
```data
pair test valid other_held_out=true rows=100 distinct=98 equal=100 identical_files=true # TG701
```

An evaluation that lies in the other as a whole:

```data
pair valid train rows=100 distinct=100 equal=100 same_answer=100 # TG701
```

## Instead
Draw the splits from one shuffled list, each row once.

```data
pair valid train rows=100 distinct=98 equal=3 same_answer=3
pair test valid other_held_out=true rows=100 distinct=98
```

A handful of rows is no split that could be told from chance:

```data
pair test train rows=3 distinct=2 equal=3 same_answer=3
```

## Source
The story that trainguard was written for: `test.json` was `valid.json`, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import PairFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG701", severity=Severity.ERROR, precision=Precision.EXACT)
def identical_splits(pairs: Sequence[PairFacts]) -> Iterator[Finding]:
    """Fire where every question of a held-out split stands in another split."""
    for pair in pairs:
        if not pair.identical:
            continue
        how = "byte for byte the same file as" if pair.identical_files else "wholly contained in"
        consequence = (
            "choices made by one are measured on the other"
            if pair.other_held_out
            else "the evaluation measures memory"
        )
        yield Finding(
            f"{pair.held_out} is {how} {pair.other} ({pair.equal} of {pair.rows} questions, "
            f"{pair.same_answer} with the same answer): {consequence}",
            fix="draw the splits anew from one list, each row once",
            location=Location(key=f"{pair.held_out} {pair.other}", value=pair.first or None),
            evidence={"rows": pair.rows, "equal": pair.equal, "same_answer": pair.same_answer},
        )
