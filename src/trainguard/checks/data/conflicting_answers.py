"""The same question has different answers in one split.

## Why is this bad?
Only one of two short answers to one question can be right, or something that decides between them
is missing from the question: a context column that was dropped, a unit. Training pulls the model
both ways, and in an evaluation one of the rows is lost whatever it says.

Long answers may differ with good reason and are not compared, nor are preference pairs.

## Example
```data
split train rows=1000 conflicting=40 first_conflicting=train.json:318 # TG707
```

```data
split valid held_out=true rows=100 conflicting=1 first_conflicting=valid.json:31 # TG707
```

## Instead
```data
split train rows=1000 conflicting=3
split valid held_out=true rows=100
```

## Source
Label noise of this kind caps the accuracy that any model can reach (Northcutt et al., 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import SplitFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Annotated training sets have a little noise of this kind.
SHARE = 0.01


@check("TG707", severity=Severity.WARNING, precision=Precision.EXACT)
def conflicting_answers(splits: Sequence[SplitFacts], *, share: float = SHARE) -> Iterator[Finding]:
    """Fire on any conflict in a held-out split, on more than a few elsewhere."""
    for split in splits:
        few = 0 if split.held_out else share * split.rows
        if split.conflicting <= few:
            continue
        about = "about " if split.estimated else ""
        yield Finding(
            f"{about}{split.conflicting} questions of {split.name} have more than one answer "
            f"(first: {split.first_conflicting}): one of them is wrong, or the question lacks what "
            "decides",
            fix="keep the right answer, or put what decides into the question",
            location=Location(
                path=split.path, key=split.name, value=split.first_conflicting or None
            ),
            evidence={"rows": split.rows, "conflicting": split.conflicting},
        )
