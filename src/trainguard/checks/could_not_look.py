"""trainguard could not look at something.

## Why is this bad?
A check that failed has decided nothing: a report without findings would pass for a clean one.
The finding names what failed, so that the silence is not mistaken for health.

## Example
```failure
what="check TG501 hidden-nan-loss" error="ZeroDivisionError: division by zero"   # TG000
```

## Instead
Nothing failed: there is no record of a failure.

```failure
```

## Source
A linter that swallows its own errors reports success for files that it never read; modelscan's
exit status 3 and this code exist for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.failure import Failure
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG000", severity=Severity.ERROR, precision=Precision.EXACT)
def could_not_look(failures: Sequence[Failure]) -> Iterator[Finding]:
    """Report every failure of trainguard itself."""
    for failure in failures:
        yield Finding(
            f"{failure.what} failed with {failure.error}, so what it looks for is unknown here",
            fix="write or copy the input again if it is damaged; otherwise report it to the "
            "maintainers of trainguard together with the input",
            location=Location(key=failure.what),
            evidence={"error": failure.error},
        )
