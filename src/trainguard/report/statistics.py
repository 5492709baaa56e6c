"""How often each check found something, instead of what it found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from trainguard.findings import Finding, Report


def text(report: Report) -> str:
    """A line for each check with findings: their number, its code, severity and name."""
    rows = list(_counted(report))
    width = max((len(str(number)) for number, _ in rows), default=0)
    lines = [
        f"{number:>{width}}  {one.code}  {one.severity:<7}  {one.name}" for number, one in rows
    ]
    return "\n".join(lines or ["no finding"]) + "\n"


def as_json(report: Report) -> str:
    """The same as a JSON array."""
    rows = [
        {"code": one.code, "name": one.name, "severity": one.severity, "count": number}
        for number, one in _counted(report)
    ]
    return json.dumps(rows, indent=2) + "\n"


def _counted(report: Report) -> Iterator[tuple[int, Finding]]:
    """Each number with the gravest finding that it counts, the largest first."""
    counts = Counter(finding.code for finding in report.findings)
    gravest = {one.code: one for one in sorted(report.findings, key=lambda f: -f.severity.rank)}
    for code in sorted(counts, key=lambda code: (-counts[code], code)):
        yield counts[code], gravest[code]
