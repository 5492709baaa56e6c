"""The report as workflow commands of GitHub Actions: annotations in the files and a summary line.

GitHub shows at most ten annotations of each kind for a step, those that it reads first. So the
gravest come first, and the last line says how many it does not show. A table for
`$GITHUB_STEP_SUMMARY` is what the format `markdown` gives.
"""

from __future__ import annotations

from trainguard.findings import Finding, Location, Report, Severity, relative_path
from trainguard.report._order import gravest_first
from trainguard.report._words import NOTHING, clean, looked_at, plural, sentence

SHOWN = 10
"""Annotations of one kind that GitHub shows for a step."""
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}
_IN_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTY = {**_IN_DATA, ":": "%3A", ",": "%2C"}


def render(report: Report) -> str:
    """One command a finding, gravest first, and what was looked at."""
    lines = [_command(finding) for finding in gravest_first(report.findings)]
    lines.append(_summary(report))
    return "\n".join(lines) + "\n"


def _command(finding: Finding) -> str:
    properties = {"title": clean(f"{finding.code} {finding.name}"), **_place(finding)}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{_COMMANDS[finding.severity]} {written}::{_data(_message(finding))}"


def _place(finding: Finding) -> dict[str, str]:
    """GitHub rejects columns of a place that spans lines."""
    place = finding.location
    path = place.path or finding.subject
    if not path:
        return {}
    properties = {"file": relative_path(path), "line": place.line}
    if place.line:
        properties |= {"endLine": place.end_line} | _columns(place)
    return {name: str(value) for name, value in properties.items() if value}


def _columns(place: Location) -> dict[str, int | None]:
    is_one_line = place.end_line in (None, place.line)
    return {"col": place.column, "endColumn": place.end_column} if is_one_line else {}


def _message(finding: Finding) -> str:
    lines = [sentence(finding)]
    if finding.fix:
        lines.append(f"help: {clean(finding.fix)}")
    if finding.explained_by:
        lines.append(f"explained by {clean(', '.join(finding.explained_by))}")
    return "\n".join(lines)


def _summary(report: Report) -> str:
    if not report.subjects:
        return f"::error title=trainguard::{NOTHING}"
    text = looked_at(report)
    if number := len({entry.code for entry in report.not_checked}):
        text += f" Not checked: {plural(number, 'check')} without the evidence."
    for severity, command in _COMMANDS.items():
        if (number := report.count(severity)) > SHOWN:
            text += f" GitHub shows {SHOWN} of {plural(number, command)} as annotations."
    # The runner takes "##[" for a command wherever it stands in a line.
    return text.replace("##[", "## [").lstrip(": ")


def _data(text: str) -> str:
    return _escaped(text, _IN_DATA)


def _property(text: str) -> str:
    return _escaped(text, _IN_PROPERTY)


def _escaped(text: str, escapes: dict[str, str]) -> str:
    """A line break is kept, escaped; what else is not printable is spelled out."""
    return "".join(escapes.get(one) or clean(one) for one in text)
