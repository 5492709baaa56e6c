"""Two ways to ask the same questions get different scores.

## Why is this bad?
A project often has two ways to an answer: `answer(question)` for the benchmark, and a batched
`generate` with a parser for everything else. They use the same weights, so they should give the
same answers but for rounding. If the one that the benchmark uses is right where the other is
wrong, again and again, then it knows something that the model does not, or the other has a bug
(another prompt, padding on the wrong side).

Compared are only questions that one path got right and the other did not. If both paths were
equally good, each would be the right one in half of them; the finding needs a chance below one
in a thousand (McNemar's exact test).

## Example
```evaluation
path parse_answer(batched_generate) rows=16 method_only=13 path_only=0   # TG605
```

## Instead
A few rows differ by rounding, in both directions:

```evaluation
path parse_answer(batched_generate) rows=16 method_only=2 path_only=1
```

## Source
In a project whose `answer` was replaced by a look-up, `answer` and the parsed batched generation
agreed in 12 % of the rows; in the honest project in all. McNemar, 1947.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.facts.evaluation_probes import PathFacts
from trainguard.facts.evaluation_score import binomial_tail
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check

CHANCE = 1e-3


@check("TG605", severity=Severity.WARNING, precision=Precision.HIGH)
def paths_disagree(path: PathFacts) -> Iterator[Finding]:
    """Fire where one path is right far more often than the other."""
    one_sided = max(path.method_only, path.path_only)
    differing = path.method_only + path.path_only
    if 2 * binomial_tail(one_sided, differing, 0.5) > CHANCE:
        return
    better, worse = ("the method under audit", path.path)
    if path.path_only > path.method_only:
        better, worse = worse, better
    yield Finding(
        f"of {path.rows} questions {better} gets {one_sided} right that {worse} gets wrong, and "
        f"{differing - one_sided} the other way round: they do not ask the same model the same way",
        fix="compare the prompts, the padding side and the decoding of both paths, and look for "
        "code that answers without the model",
        location=Location(key=path.path, value=f"{path.method_only}:{path.path_only}"),
        evidence={
            "rows": path.rows,
            "method_only": path.method_only,
            "path_only": path.path_only,
        },
    )
