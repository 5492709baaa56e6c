"""Questions of the evaluation are in the training data but for a few words.

## Why is this bad?
At least eight words in one piece and half of the question, with all of its numbers, is seldom
chance: the row was copied and touched up, or both were cut from one text. It is remembered almost
as well as the original.

A piece that many questions share is a template and does not count; nor does a question of which a
number differs.

## Example
```data
pair valid train rows=200 distinct=200 partial=12 first_partial=valid.json:7 # TG704
```

## Instead
```data
pair valid train rows=200 distinct=200 partial=1
```

## Source
The longest common piece of eight words or more predicted inflated scores best over 13 benchmarks
and 7 models (Singh et al., 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.data import PairFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Two texts can share a sentence; a share of them above this was not written independently.
SHARE = 0.02
FEWEST = 2


@check("TG704", severity=Severity.WARNING, precision=Precision.HIGH)
def near_duplicate_rows(pairs: Sequence[PairFacts], *, share: float = SHARE) -> Iterator[Finding]:
    """Fire where more than a few held-out questions are mostly in another split."""
    for pair in pairs:
        if pair.partial < FEWEST or pair.partial <= share * pair.rows:
            continue
        yield Finding(
            f"{pair.partial} of {pair.rows} questions of {pair.held_out} are in {pair.other} but "
            f"for a few words, numbers included (first: {pair.first_partial}): they are hardly new",
            fix=f"look at these rows and remove the copies from {pair.other}",
            location=Location(
                key=f"{pair.held_out} {pair.other}", value=pair.first_partial or None
            ),
            evidence={"rows": pair.rows, "partial": pair.partial},
        )
