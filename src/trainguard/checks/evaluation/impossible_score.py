"""The reported score contradicts arithmetic or the answers that were seen.

## Why is this bad?
Some scores cannot be. A right answer is an answer, so accuracy never exceeds the answer rate. A
share of n questions times n is a whole number. Where a row is right only if the model's greedy
answer is the reference token by token, the loss and the token accuracy on the references bound
the share of right rows from both sides. And the score of a benchmark cannot differ from that of
the same answers to the same questions under the same comparison: then the benchmark compares
differently from what its code says.

High loss beside high accuracy is no contradiction where several answers are accepted or
reasoning comes first; nothing is said about that.

## Example
```evaluation
claim accuracy=0.97 answer_rate=0.9 count=100   # TG610
```

Of 100 questions nobody gets 84.7 right:

```evaluation
claim accuracy=0.847 count=100   # TG610
```

The recorded answers, compared by the function that the user gave, are worth less:

```evaluation
claim accuracy=1.0 count=100 recorded=0.12   # TG610
```

At least 3 of 100 references hold a wrong token:

```evaluation
claim accuracy=1.0 count=100 exact_match=true token_accuracy=0.9 tokens=300 longest=10   # TG610
```

## Instead
```evaluation
claim accuracy=0.85 answer_rate=0.97 count=100 recorded=0.85
```

A rounded share is one of a whole number:

```evaluation
claim accuracy=0.333 count=33
```

```evaluation
claim accuracy=0.84 count=500 exact_match=true token_accuracy=0.95 tokens=1600 longest=6
```

## Source
The GRIM test of Brown and Heathers (2017) for the whole number; the bounds follow from the union
bound and the pigeonhole principle, and from Markov's inequality for the loss.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_score import ClaimFacts, exact_match_floor, exact_match_range
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

#: Sums of floating-point shares.
ROUNDING = 1e-9


@check("TG610", severity=Severity.ERROR, precision=Precision.EXACT)
def impossible_score(claim: ClaimFacts) -> Iterator[Finding]:
    """Fire on the first contradiction."""
    reason = next(filter(None, _contradictions(claim)), "")
    if not reason:
        return
    yield Finding(
        f"accuracy is reported as {claim.accuracy:.6g}, but {reason}",
        fix="print right answers, answered and asked questions as counts, and look for what "
        "changes them between the answers and the report",
        location=Location(key="accuracy", value=f"{claim.accuracy:.6g}"),
        evidence={"accuracy": claim.accuracy, "count": claim.count, "recorded": claim.recorded},
    )


def _contradictions(claim: ClaimFacts) -> Iterator[str]:
    yield _of_range(claim)
    yield _of_answer_rate(claim)
    yield _of_count(claim)
    yield _of_recorded(claim)
    yield _of_bounds(claim)


def _of_range(claim: ClaimFacts) -> str:
    inside = -ROUNDING <= claim.accuracy <= 1 + ROUNDING
    return "" if inside else "a share lies between 0 and 1"


def _of_answer_rate(claim: ClaimFacts) -> str:
    if claim.answer_rate is None or claim.accuracy <= claim.answer_rate + ROUNDING:
        return ""
    return f"only {claim.answer_rate:.6g} of the questions were answered at all"


def _of_count(claim: ClaimFacts) -> str:
    """As many decimals as the share was written with decide how exact it must be."""
    if claim.count is None:
        return ""
    nearest = round(claim.accuracy * claim.count) / claim.count
    decimals = len(f"{claim.accuracy:.12g}".partition(".")[2])
    if abs(nearest - claim.accuracy) <= 0.5 * 10.0**-decimals + ROUNDING:
        return ""
    return f"no number of right answers out of {claim.count} gives that share"


def _of_recorded(claim: ClaimFacts) -> str:
    """The smallest step that a score can take tells rounding from another score."""
    if claim.recorded is None or claim.count is None:
        return ""
    if abs(claim.recorded - claim.accuracy) <= 0.5 / claim.count:
        return ""
    return (
        f"the {claim.count} answers that were recorded get {claim.recorded:.4g} by the same "
        "comparison"
    )


def _of_bounds(claim: ClaimFacts) -> str:
    if not claim.exact_match or claim.count is None:
        return ""
    least, most = 0.0, 1.0
    if claim.mean_nll is not None:
        least = exact_match_floor(claim.mean_nll)
    if claim.token_accuracy is not None and claim.tokens and claim.longest:
        bounds = exact_match_range(claim.token_accuracy, claim.tokens, claim.count, claim.longest)
        least, most = max(least, bounds[0]), bounds[1]
    step = 1 / claim.count
    if least - step < claim.accuracy < most + step:
        return ""
    return (
        f"loss and token accuracy on the references allow only {least:.4g} to {most:.4g} exact "
        "matches"
    )
