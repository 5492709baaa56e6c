"""Findings as properties of a test report, and the summary that is made of them.

Reports travel from the workers of pytest-xdist, and into JUnit files, with their properties:
pairs of texts. A finding is a row of them that begins with its code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from trainguard.findings import Finding

_PREFIX = "trainguard."
_MARKUP = {"error": {"red": True}, "warning": {"yellow": True}, "info": {"cyan": True}}
Properties = Sequence[tuple[str, Any]]
Row = dict[str, str]


def properties_of(finding: Finding) -> list[tuple[str, str]]:
    """A finding as properties of an item: code, name, severity, place, message, causes."""
    place = finding.location.path or finding.subject
    values = {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "place": f"{place}:{finding.location.line}" if finding.location.line else place,
        "message": finding.message,
        "explained_by": ", ".join(finding.explained_by),
    }
    return [(_PREFIX + name, printable(value)) for name, value in values.items() if value]


def summary_lines(reports: Iterable[Any]) -> Iterator[tuple[str, dict[str, bool]]]:
    """Lines with their markup: every cause once, gravest first, then the counts.

    Args:
        reports: the test reports of a session, of all phases.
    """
    rows = list(_rows(reports))
    causes = [row for row in rows if "explained_by" not in row]
    for severity, markup in _MARKUP.items():
        for row in causes:
            if row["severity"] == severity:
                yield _line(row), markup
    counts = [
        f"{number} info" if severity == "info" else _plural(number, severity)
        for severity in _MARKUP
        if (number := sum(row["severity"] == severity for row in rows))
    ]
    symptoms = len(rows) - len(causes)
    explained = f", {_plural(symptoms, 'symptom')}" if symptoms else ""
    yield f"{', '.join(counts)}: {_plural(len(causes), 'cause')}{explained}", {}


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _line(row: Row) -> str:
    return f"{row['place']}: {row['severity']}[{row['code']}] {row['name']}: {row['message']}"


def _rows(reports: Iterable[Any]) -> Iterator[Row]:
    """Findings, once each: all phases of a test report its properties, a later one perhaps more."""
    latest: dict[str, Properties] = {}
    for report in reports:
        found = getattr(report, "user_properties", ())
        if len(found) >= len(latest.get(getattr(report, "nodeid", ""), ())):
            latest[getattr(report, "nodeid", "")] = found
    seen: list[Row] = []
    for properties in latest.values():
        for row in _split(properties):
            if row not in seen:
                seen.append(row)
                yield row


def _split(properties: Properties) -> list[Row]:
    rows: list[Row] = []
    for name, value in properties:
        if name == f"{_PREFIX}code":
            rows.append({})
        if name.startswith(_PREFIX) and rows:
            rows[-1][name.removeprefix(_PREFIX)] = str(value)
    return rows


def printable(text: str) -> str:
    """Names come from files: no control character and no lone surrogate leaves the process."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
