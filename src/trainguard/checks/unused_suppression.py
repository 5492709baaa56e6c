"""A comment suppresses a finding that is no longer there.

## Why is this bad?
The fault that it excused is gone, or the name in it is that of no check. What it leaves behind is
a hole: the same fault, made again on this line, will be taken out of the report unseen.

## Example
```suppression
adapter-loaded-frozen line=3   # TG001
```

A name that no check has covers nothing at all.

```suppression
adaptor-loaded-frozen line=3 nearest="adapter-loaded-frozen"   # TG001
```

## Instead
Every comment covers a finding. One whose check was not run, or could not decide, is not judged;
nor is one of a file that was checked alone, for other files may be what its finding takes.

```suppression
```

## Source
`RUF100` of ruff and `warn_unused_ignores` of mypy: suppressions outlive their reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trainguard.facts.suppression import UnusedSuppression
from trainguard.findings import Finding, Location, Precision, Severity
from trainguard.registry import check


@check("TG001", severity=Severity.WARNING, precision=Precision.EXACT)
def unused_suppression(unused: Sequence[UnusedSuppression]) -> Iterator[Finding]:
    """Report every comment that covers nothing."""
    for one in unused:
        names = ", ".join(one.names)
        meant = f"write {one.nearest} if that is meant, or remove it" if one.nearest else ""
        yield Finding(
            f"ignore[{names}] covers no finding, and would hide the next one of its kind"
            if one.nearest is None
            else f"ignore[{names}] names no check, so it covers nothing",
            fix=meant or "remove the comment",
            location=Location(line=one.line, key=names),
        )
