"""The comparison of answers rejects the expected answers themselves.

## Why is this bad?
If the expected answer, given as the answer to its own question, counts as wrong, then no model
can get that question right. The usual reasons are types (the text "6000" against the number
6000.0), a unit or a blank that only one side has, or references that need parsing first. The
score then measures the format, and training is blamed for it.

## Example
```evaluation
grader is_right references=32 accepted=0   # TG608
```

A few odd references cost as many points:

```evaluation
grader is_right references=32 accepted=30   # TG608
```

## Instead
```evaluation
grader is_right references=32 accepted=32
```

## Source
The first probe of any grader: it must accept its own references, at a rate of exactly 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_probes import GraderFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Above this share of rejections the score says nothing any more.
SHARE = 0.1


@check("TG608", severity=Severity.ERROR, precision=Precision.EXACT)
def grader_rejects_references(grader: GraderFacts) -> Iterator[Finding]:
    """Fire where an expected answer is not right."""
    rejected = grader.references - grader.accepted
    if not rejected:
        return
    best = grader.accepted / grader.references
    yield Finding(
        f"{grader.name} rejects {rejected} of {grader.references} expected answers as answers to "
        f"their own questions: no model can score above {best:.4g}",
        fix="convert both sides to one type and form before comparing them",
        location=Location(
            path=grader.path, line=grader.line, key=grader.name, value=f"accepted {best:.4g}"
        ),
        evidence={"references": grader.references, "accepted": grader.accepted},
        severity=Severity.ERROR if rejected > SHARE * grader.references else Severity.WARNING,
    )
