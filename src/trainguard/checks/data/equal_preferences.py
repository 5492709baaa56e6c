"""Preference pairs prefer a text to itself.

## Why is this bad?
Where the chosen and the rejected answer are the same text, the loss of DPO is ln 2 whatever the
model does, and its gradient is zero. A reward model learns nothing from the row either.

## Example
```data
split train rows=1000 preferences=1000 undecided=120 first_undecided=train.jsonl:8 # TG711
```

## Instead
```data
split train rows=1000 preferences=1000
```

## Source
The DPO loss is -log sigmoid(0) for equal answers (Rafailov et al., 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import SplitFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: From here on the data set is broken, below single rows are.
SHARE = 0.05


@check("TG711", severity=Severity.ERROR, precision=Precision.EXACT)
def equal_preferences(splits: Sequence[SplitFacts], *, share: float = SHARE) -> Iterator[Finding]:
    """Fire on pairs without a difference."""
    for split in splits:
        if not split.undecided:
            continue
        yield Finding(
            f"{split.undecided} of {split.preferences} preference pairs of {split.name} have the "
            f"same text on both sides (first: {split.first_undecided}): they teach nothing",
            fix="remove these pairs, or look at how the rejected answers were made",
            location=Location(path=split.path, key=split.name, value=split.first_undecided or None),
            evidence={"preferences": split.preferences, "undecided": split.undecided},
            severity=Severity.ERROR
            if split.undecided > share * split.preferences
            else Severity.WARNING,
        )
