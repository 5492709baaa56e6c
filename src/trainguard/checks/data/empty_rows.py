"""Rows have no question, no answer, or cannot be read.

## Why is this bad?
A row without an answer has no label: in training it does nothing, or teaches the model to say
nothing; in a batch of its own its loss is NaN. In an evaluation it cannot be right. A line that
is not JSON is skipped by some loaders and stops others half way.

## Example
```data
split train rows=1000 empty=12 first_empty=train.jsonl:40 # TG706
```

```data
split valid held_out=true rows=100 unreadable=3 # TG706
```

## Instead
```data
split train rows=1000
```

## Source
Catalogued failures: rows without a turn of the assistant after a change of format, and empty
completions whose batches give a loss of NaN or 0.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import SplitFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Above this share it is no slip in single rows but a column under another name.
SHARE = 0.5


@check("TG706", severity=Severity.ERROR, precision=Precision.EXACT)
def empty_rows(splits: Sequence[SplitFacts]) -> Iterator[Finding]:
    """Fire on rows that hold nothing to learn."""
    for split in splits:
        lost = split.empty + split.unreadable
        if not lost:
            continue
        parts = [f"{split.empty} without a question or an answer"] if split.empty else []
        parts += [f"{split.unreadable} that cannot be read"] if split.unreadable else []
        first = f" (first: {split.first_empty})" if split.first_empty else ""
        yield Finding(
            f"{lost} of {split.rows} rows of {split.name} hold nothing to learn: "
            f"{', '.join(parts)}{first}",
            fix="remove these rows, or find the step that emptied them",
            location=Location(path=split.path, key=split.name, value=split.first_empty or None),
            evidence={"rows": split.rows, "empty": split.empty, "unreadable": split.unreadable},
            severity=Severity.ERROR if lost > SHARE * split.rows else Severity.WARNING,
        )
