"""The report for people: `full` with frames, causes first; `concise` with one line a finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from trainguard.findings import Finding, Location, Report
from trainguard.report._words import (
    address,
    by_code,
    clean,
    looked_at,
    plural,
    reasons_not_checked,
)

_STYLE = {"error": "1;31", "warning": "1;33", "info": "1;36", "help": "1;32", "dim": "2"}
Paint = Callable[[str, str], str]


def full(
    report: Report, *, colour: bool = False, verbose: bool = False, summary: bool = True
) -> str:
    """Every cause with its place, its fix and its symptoms folded under it.

    Args:
        report: what was found.
        colour: whether to use terminal colours.
        verbose: whether to say why each check was not run.
        summary: whether to end with what was and was not checked.
    """
    paint = _painter(colour)
    blocks = ["\n".join(_cause(report, cause, paint)) for cause in report.causes]
    if report.notes:
        blocks.append("\n".join(f"{paint('dim', 'note:')} {clean(note)}" for note in report.notes))
    if summary:
        blocks.append("\n".join(_summary(report, verbose=verbose)))
    return "\n\n".join(blocks) + "\n"


def concise(report: Report) -> str:
    """One line a finding, `path:line: CODE severity name: message`, notes and the summary."""
    lines = [_line(finding) for finding in report.findings]
    lines += [f"note: {clean(note)}" for note in report.notes]
    return "\n".join([*lines, *_summary(report, verbose=False)]) + "\n"


def _cause(report: Report, cause: Finding, paint: Paint) -> Iterator[str]:
    severity = cause.severity.value
    head = paint(severity, f"{severity}[{clean(cause.code)}]")
    yield f"{head} {clean(cause.name)}: {clean(cause.message)}"
    yield paint("dim", f"  --> {address(cause.location)}")
    yield from _frame(cause.location, paint)
    if cause.fix:
        yield f"{paint('help', 'help:')} {clean(cause.fix)}"
    for code, symptoms in by_code(report.symptoms_of(cause)).items():
        first = symptoms[0]
        where = [symptom.subject for symptom in symptoms if symptom.subject != cause.subject]
        text = f"{code} {first.name}: {first.message}{_elsewhere(where)}"
        yield paint("dim", f"  = explains {clean(text)}")


def _elsewhere(subjects: list[str]) -> str:
    if not subjects:
        return ""
    more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
    return f" ({subjects[0]}{more})"


def _frame(location: Location, paint: Paint) -> Iterator[str]:
    rows = [(clean(line.label), line.text, line.marked) for line in location.excerpt]
    if not rows and location.key:
        value = f": {location.value}" if location.value is not None else ""
        rows = [(str(location.line or ""), f"{location.key}{value}", True)]
    width = max((len(label) for label, _, _ in rows), default=0)
    for label, text, marked in rows:
        row = f" {'>' if marked else ' '} {label:>{width}} | {clean(text)}"
        yield row if marked else paint("dim", row)


def _line(finding: Finding) -> str:
    place = finding.location.path or finding.subject
    if finding.location.line:
        place += f":{finding.location.line}"
    because = f" (explained by {', '.join(finding.explained_by)})" if finding.explained_by else ""
    text = f"{finding.code} {finding.severity.value} {finding.name}: {finding.message}{because}"
    return clean(f"{place}: {text}")


def _summary(report: Report, *, verbose: bool) -> Iterator[str]:
    yield looked_at(report)
    if report.subjects:
        yield from _not_checked(report, verbose=verbose)


def _not_checked(report: Report, *, verbose: bool) -> Iterator[str]:
    if not report.not_checked:
        return
    codes = {entry.code for entry in report.not_checked}
    if not verbose:
        yield f"Not checked: {plural(len(codes), 'check')} without the evidence (-v tells why)."
        return
    yield "Not checked:"
    for reason, names in reasons_not_checked(report).items():
        yield f"  {', '.join(names)}: {reason}"


def _painter(colour: bool) -> Paint:
    if not colour:
        return lambda style, text: text
    return lambda style, text: f"\x1b[{_STYLE[style]}m{text}\x1b[0m"
