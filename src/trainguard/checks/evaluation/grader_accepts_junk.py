"""The comparison of answers accepts wrong answers.

## Why is this bad?
A comparison that holds for None, for NaN or for the expected answers of other questions gives a
score that no model has earned. NaN gets through where the test is written the wrong way round
(`not abs(a - b) > tolerance`), zero or an empty text where they count as "no expectation", and
everything where the comparison was replaced. Ten times the number and its negative are wrong
too, unless a task says otherwise: then it is only a warning.

## Example
```evaluation
grader is_right references=32 accepted=32 pairs=496 wrong_accepted=496   # TG609
```

```evaluation
grader is_right references=32 accepted=32 pairs=496 junk_accepted='["NaN"]'   # TG609
```

```evaluation
grader is_right references=32 accepted=32 pairs=496 scaled=32 scaled_accepted=32   # TG609
```

## Instead
A tolerance lets neighbouring numbers pass:

```evaluation
grader is_right references=32 accepted=32 pairs=496 wrong_accepted=7 scaled=32
```

## Source
Of 18 ways to fake a score two change the comparison (a grader that always agrees, a number that
equals everything). An honest grader with 5 % tolerance accepted 1.4 % of the pairs of a real
validation set.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_probes import GraderFacts
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Distinct expected answers hardly ever pass for each other; half of all pairs never do.
SHARE = 0.5


@check("TG609", severity=Severity.ERROR, precision=Precision.HIGH, explains=("TG603", "TG610"))
def grader_accepts_junk(grader: GraderFacts) -> Iterator[Finding]:
    """Fire where answers pass that cannot be right."""
    wrong, severity = _wrong(grader)
    if not wrong:
        return
    yield Finding(
        f"{grader.name} accepts {wrong}: wrong answers count as right",
        fix="compare so that NaN, None and every other number are wrong, for instance "
        "abs(answer - expected) <= tolerance * abs(expected)",
        location=Location(path=grader.path, line=grader.line, key=grader.name, value=wrong),
        evidence={
            "pairs": grader.pairs,
            "wrong_accepted": grader.wrong_accepted,
            "junk_accepted": list(grader.junk_accepted),
            "scaled": grader.scaled,
            "scaled_accepted": grader.scaled_accepted,
        },
        severity=severity,
    )


def _wrong(grader: GraderFacts) -> tuple[str, Severity]:
    if grader.pairs and grader.wrong_accepted >= SHARE * grader.pairs:
        pairs = f"{grader.wrong_accepted} of {grader.pairs}"
        return f"{pairs} expected answers of other questions", Severity.ERROR
    if grader.junk_accepted:
        return f"{' and '.join(grader.junk_accepted)} as an answer", Severity.ERROR
    if grader.scaled and grader.scaled_accepted >= SHARE * grader.scaled:
        numbers = f"{grader.scaled_accepted} of {grader.scaled}"
        return f"{numbers} expected numbers times ten or negated", Severity.WARNING
    return "", Severity.INFO
