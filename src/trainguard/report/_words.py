"""Words that several formats share: cleaned text, places, and what was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from trainguard.findings import Finding, Location, Report, Severity

NOTHING = (
    "Nothing was recognised to check: no adapter, checkpoint, model, training run, log, data set "
    "or source."
)


def clean(text: str) -> str:
    """The text with every character that is not printable spelled out.

    Names come from files: control characters, line breaks, direction marks, lone surrogates and
    what XML forbids must reach neither a terminal nor a parser.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _spelled(one) for one in text)


def _spelled(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shortened(text: str, most: int) -> str:
    """At most so many characters; a cut ends in an ellipsis, behind a whole word if one is near."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    words = cut.rpartition(" ")[0]
    return (words if len(words) > most // 2 else cut).rstrip() + "…"


def plural(number: int, noun: str) -> str:
    """`1 check`, `2 checks`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def address(location: Location) -> str:
    """Path, line and step, as far as they are known; cleaned."""
    line = f":{location.line}" if location.line else ""
    step = f" (step {location.step})" if location.step is not None else ""
    return clean(f"{location.path or ''}{line}{step}")


def sentence(finding: Finding) -> str:
    """The message, cleaned, with the step if it does not name it itself."""
    step = finding.location.step
    message = clean(finding.message)
    return message if step is None or f"step {step}" in message else f"{message} (step {step})"


def looked_at(report: Report) -> str:
    """One sentence: on what, how much was found, how many checks decided."""
    if not report.subjects:
        return NOTHING
    kinds = Counter(subject.kind for subject in report.subjects)
    subjects = ", ".join(plural(number, kind) for kind, number in kinds.items())
    decided = plural(len(report.checked), "check")
    return clean(f"Looked at {subjects}: {verdict(report)}; {decided} decided.")


def verdict(report: Report) -> str:
    """`2 errors, 1 warning, 1 cause (3 suppressed)`, or `no finding`."""
    counts = ", ".join(_counts(report))
    found = f"{counts}, {plural(len(report.causes), 'cause')}" if counts else "no finding"
    aside = [f"{len(report.suppressed)} suppressed"] if report.suppressed else []
    aside += [f"{len(report.known)} in the baseline"] if report.known else []
    return f"{found} ({', '.join(aside)})" if aside else found


def _counts(report: Report) -> Iterator[str]:
    for severity in (Severity.ERROR, Severity.WARNING):
        if number := report.count(severity):
            yield plural(number, severity.value)
    if infos := report.count(Severity.INFO):
        yield f"{infos} info"


def reasons_not_checked(report: Report) -> dict[str, list[str]]:
    """By reason, with its subject if it has one, the codes of the checks; all cleaned."""
    codes: dict[str, set[str]] = {}
    for entry in report.not_checked:
        reason = f"{entry.reason} ({entry.subject})" if entry.subject else entry.reason
        codes.setdefault(clean(reason), set()).add(clean(entry.code))
    return {reason: sorted(ones) for reason, ones in codes.items()}


def by_code(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings of each check, in the order in which the checks first occur."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    return groups
