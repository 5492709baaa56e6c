"""The expected answer stands in the question.

## Why is this bad?
A model that copies gets such a row right. In training it learns to copy, in an evaluation it is
given points for it. The usual reason is a template that was filled with the answer too.

Some answers stand in their questions by chance, or by the nature of the task. How many would is
measured by giving each question the answer of another row. Rows with a passage to read or with
choices are left out.

## Example
```data
split valid held_out=true rows=1000 prompted=1000 leaking=600 leaking_by_chance=14 # TG708
```

## Instead
```data
split valid held_out=true rows=1000 prompted=1000 leaking=21 leaking_by_chance=14
```

Yes-or-no questions and classes that are named in every prompt:

```data
split valid held_out=true rows=1000 prompted=1000 leaking=1000 leaking_by_chance=990
```

## Source
In a real unit-conversion set copying the number of the question was right in 2.1 % of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import SplitFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

FEWEST = 20
#: Copying tasks of all kinds hold some of their answers; half of all rows is a template's doing.
SHARE = 0.5
TIMES = 3


@check("TG708", severity=Severity.WARNING, precision=Precision.HIGH, explains=("TG611",))
def answer_in_prompt(splits: Sequence[SplitFacts], *, share: float = SHARE) -> Iterator[Finding]:
    """Fire where most answers stand in their own questions and not in those of others."""
    for split in splits:
        if split.prompted < FEWEST or split.leaking < share * split.prompted:
            continue
        if split.leaking < TIMES * split.leaking_by_chance:
            continue
        yield Finding(
            f"{split.leaking} of {split.prompted} answers of {split.name} stand in their own "
            f"question, where {split.leaking_by_chance:.0f} would by chance (first: "
            f"{split.first_leaking}): copying is enough to be right",
            fix="look at how the question is filled in, and take the answer out of it",
            location=Location(path=split.path, key=split.name, value=split.first_leaking or None),
            evidence={
                "prompted": split.prompted,
                "leaking": split.leaking,
                "by_chance": split.leaking_by_chance,
            },
        )
