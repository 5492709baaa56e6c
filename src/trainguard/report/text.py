"""The report for people: `full` with frames, causes first; `concise` with one line a finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from trainguard.findings import Finding, Location, Report, Severity

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
        blocks.append("\n".join(f"{paint('dim', 'note:')} {_clean(note)}" for note in report.notes))
    if summary:
        blocks.append("\n".join(_summary(report, verbose=verbose)))
    return "\n\n".join(blocks) + "\n"


def concise(report: Report) -> str:
    """One line a finding, `path:line: CODE severity name: message`, and the summary."""
    lines = [_line(finding) for finding in report.findings]
    return "\n".join([*lines, *_summary(report, verbose=False)]) + "\n"


def _cause(report: Report, cause: Finding, paint: Paint) -> Iterator[str]:
    severity = cause.severity.value
    head = paint(severity, f"{severity}[{cause.code}]")
    yield f"{head} {cause.name}: {_clean(cause.message)}"
    yield paint("dim", f"  --> {_clean(_address(cause.location))}")
    yield from _frame(cause.location, paint)
    if cause.fix:
        yield f"{paint('help', 'help:')} {_clean(cause.fix)}"
    for code, symptoms in _by_code(report.symptoms_of(cause)).items():
        first = symptoms[0]
        where = [symptom.subject for symptom in symptoms if symptom.subject != cause.subject]
        text = f"{code} {first.name}: {first.message}{_elsewhere(where)}"
        yield paint("dim", f"  = explains {_clean(text)}")


def _by_code(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    return groups


def _elsewhere(subjects: list[str]) -> str:
    if not subjects:
        return ""
    more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
    return f" ({subjects[0]}{more})"


def _frame(location: Location, paint: Paint) -> Iterator[str]:
    rows = [(line.label, line.text, line.marked) for line in location.excerpt]
    if not rows and location.key:
        value = f": {location.value}" if location.value is not None else ""
        rows = [(str(location.line or ""), f"{location.key}{value}", True)]
    width = max((len(label) for label, _, _ in rows), default=0)
    for label, text, marked in rows:
        row = f" {'>' if marked else ' '} {label:>{width}} | {_clean(text)}"
        yield row if marked else paint("dim", row)


def _address(location: Location) -> str:
    line = f":{location.line}" if location.line else ""
    step = f" (step {location.step})" if location.step is not None else ""
    return f"{location.path}{line}{step}"


def _line(finding: Finding) -> str:
    place = finding.location.path or finding.subject
    if finding.location.line:
        place += f":{finding.location.line}"
    because = f" (explained by {', '.join(finding.explained_by)})" if finding.explained_by else ""
    text = f"{finding.code} {finding.severity.value} {finding.name}: {finding.message}{because}"
    return _clean(f"{place}: {text}")


def _summary(report: Report, *, verbose: bool) -> Iterator[str]:
    if not report.subjects:
        yield "Nothing was recognised to check: no adapter, checkpoint, model, training run or log."
        return
    kinds = Counter(subject.kind for subject in report.subjects)
    looked_at = ", ".join(_plural(number, kind) for kind, number in kinds.items())
    found = [
        _plural(report.count(severity), severity.value)
        for severity in (Severity.ERROR, Severity.WARNING)
        if report.count(severity)
    ]
    if infos := report.count(Severity.INFO):
        found.append(f"{infos} info")
    causes = _plural(len(report.causes), "cause")
    verdict = f"{', '.join(found)}, {causes}" if found else "no finding"
    if report.suppressed:
        verdict += f" ({len(report.suppressed)} suppressed)"
    yield f"Looked at {looked_at}: {verdict}; {_plural(len(report.checked), 'check')} decided."
    yield from _not_checked(report, verbose=verbose)


def _not_checked(report: Report, *, verbose: bool) -> Iterator[str]:
    if not report.not_checked:
        return
    codes = {entry.code for entry in report.not_checked}
    if not verbose:
        yield f"Not checked: {_plural(len(codes), 'check')} without the evidence (-v tells why)."
        return
    by_reason: dict[str, list[str]] = {}
    for entry in report.not_checked:
        reason = f"{entry.reason} ({entry.subject})" if entry.subject else entry.reason
        by_reason.setdefault(reason, []).append(entry.code)
    yield "Not checked:"
    for reason, names in by_reason.items():
        yield f"  {', '.join(sorted(set(names)))}: {_clean(reason)}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _painter(colour: bool) -> Paint:
    if not colour:
        return lambda style, text: text
    return lambda style, text: f"\x1b[{_STYLE[style]}m{text}\x1b[0m"


def _clean(text: str) -> str:
    """Names come from files: a control character in one must not reach the terminal."""
    return "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" for character in text
    )
