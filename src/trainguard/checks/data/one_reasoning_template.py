"""All reasonings are one sentence with other numbers.

## Why is this bad?
Rejection sampling lives from different ways to a right answer. Reasonings that are all the same
once numbers and the words of the question are taken out were written by a template from the
answers, not sampled from a model; training on them is fine-tuning on the answers with a longer
prefix, and the gain that was hoped for does not come.

## Example
```data
split rft rows=900 compared=900 templates=1 largest_template=900 # TG710
```

## Instead
```data
split rft rows=900 compared=900 templates=310 largest_template=45
```

Too few rows to tell:

```data
split rft rows=8 compared=8 templates=1 largest_template=8
```

## Source
The story that trainguard was written for: its file of "rejection samples" was made from the
reference table with one sentence. Diversity of paths is what the gain depends on (Yuan et al.,
2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import SplitFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

FEWEST = 20
SHARE = 0.95


@check("TG710", severity=Severity.WARNING, precision=Precision.HIGH)
def one_reasoning_template(
    splits: Sequence[SplitFacts], *, share: float = SHARE
) -> Iterator[Finding]:
    """Fire where nearly all reasonings are alike."""
    for split in splits:
        if split.compared < FEWEST or split.largest_template < share * split.compared:
            continue
        yield Finding(
            f"{split.largest_template} of {split.compared} reasonings of {split.name} are one "
            "sentence with other numbers: they were filled in, not sampled",
            fix="sample several reasonings a question from a model and keep the right ones",
            location=Location(path=split.path, key=split.name, value=str(split.templates)),
            evidence={"compared": split.compared, "templates": split.templates},
        )
