"""Rows occur more than once in a split.

## Why is this bad?
In an evaluation split a repeated row counts twice, and the interval around the score is narrower
than it should be. In training it is seen as often as it stands there: a few repeats do no harm, a
fifth of the data does, and most of all if it is one row.

A question that comes with several reasonings, answers or pairs of preference is not repeated.

## Example
```data
split valid held_out=true rows=1000 repeated=14 first_repeated=valid.json:71 # TG702
```

```data
split train rows=1000 repeated=300 first_repeated=train.json:12 # TG702
```

## Instead
```data
split valid held_out=true rows=1000
split train rows=1000 repeated=20
```

## Source
14 of 1000 rows of a real validation set were repeats. Lee et al. (2022) found that removing
repeats from training data lowers memorised output tenfold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import SplitFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Training sets repeat rows on purpose, to weigh them; not a tenth of all.
SHARE = 0.1


@check("TG702", severity=Severity.WARNING, precision=Precision.EXACT)
def duplicate_rows(splits: Sequence[SplitFacts], *, share: float = SHARE) -> Iterator[Finding]:
    """Fire on any repeat in a held-out split, on many elsewhere."""
    for split in splits:
        if not split.repeated or (not split.held_out and split.repeated < share * split.rows):
            continue
        about = "about " if split.estimated else ""
        yield Finding(
            f"{about}{split.repeated} of {split.rows} rows of {split.name} repeat an earlier one: "
            + ("they count more than once" if split.held_out else "training weighs them so"),
            fix="remove the repeated rows before splitting",
            location=Location(path=split.path, key=split.name, value=split.first_repeated or None),
            evidence={"rows": split.rows, "repeated": split.repeated},
        )
