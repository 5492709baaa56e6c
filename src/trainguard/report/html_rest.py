"""The end of the page: notes, what comments suppressed, what was checked and what was not."""

from __future__ import annotations

from collections.abc import Iterator

from trainguard.findings import Report
from trainguard.registry import UnknownCheckError, find
from trainguard.report.html_findings import address
from trainguard.report.html_text import escaped, plural, prose

#: Entries of a list that are shown.
MOST = 300


def rest(report: Report) -> Iterator[str]:
    """The sections that follow the curves."""
    if report.notes:
        notes = [f"<li>{prose(note)}</li>" for note in report.notes]
        yield from _section("notes", "Notes", ["<ul>", *_bounded(notes), "</ul>"])
    if report.set_aside:
        yield from _section("suppressed", "Suppressed by a comment", _suppressed(report))
    if report.known:
        yield from _section("known", "Known from the baseline", _known(report))
    if report.not_checked:
        yield from _section("not-checked", "Not checked, and why", _not_checked(report))
    if report.checked:
        yield from _section("checked", "Checked", _checked(report))


def _section(key: str, title: str, body: Iterator[str] | list[str]) -> Iterator[str]:
    yield f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2>'
    yield from body
    yield "</section>"


def _bounded(items: list[str]) -> list[str]:
    more = [f"<li>and {len(items) - MOST} more</li>"] if len(items) > MOST else []
    return items[:MOST] + more


def _suppressed(report: Report) -> Iterator[str]:
    items = [
        f'<li><span class="code">{escaped(one.finding.code)}</span> {escaped(one.finding.name)} '
        f"({escaped(address(one.finding.location))}): {escaped(one.reason or 'no reason given')}"
        f"<br>{prose(one.finding.message)}</li>"
        for one in report.set_aside
    ]
    yield from ("<ul>", *_bounded(items), "</ul>")


def _known(report: Report) -> Iterator[str]:
    items = [
        f'<li><span class="code">{escaped(one.code)}</span> {escaped(one.name)} '
        f"({escaped(address(one.location))}): {prose(one.message)}</li>"
        for one in report.known
    ]
    yield f"<details><summary>{plural(len(items), 'finding')}</summary><ul>"
    yield from (*_bounded(items), "</ul></details>")


def _not_checked(report: Report) -> Iterator[str]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for entry in report.not_checked:
        by_reason.setdefault((entry.reason, entry.subject), []).append(entry.code)
    codes = {entry.code for entry in report.not_checked}
    yield f"<details><summary>{plural(len(codes), 'check')} without the evidence</summary>"
    yield '<div class="scroll" tabindex="0" role="group" aria-label="Not checked"><table>'
    yield '<thead><tr><th scope="col">Reason</th><th scope="col">Checks</th></tr></thead><tbody>'
    for (reason, subject), names in list(by_reason.items())[:MOST]:
        where = f" ({subject})" if subject else ""
        shown = ", ".join(sorted(set(names)))
        yield f"<tr><td>{prose(reason + where)}</td><td>{escaped(shown)}</td></tr>"
    yield "</tbody></table></div></details>"


def _checked(report: Report) -> Iterator[str]:
    found = {finding.code for finding in report.findings}
    yield f"<details><summary>{plural(len(report.checked), 'check')} decided</summary>"
    items = [
        f'<li><span class="code">{escaped(code)}</span> {escaped(_name(code))}'
        f"{' (found something)' if code in found else ''}</li>"
        for code in report.checked
    ]
    yield from ('<ul class="columns">', *_bounded(items), "</ul></details>")


def _name(code: str) -> str:
    try:
        return find(code).name
    except UnknownCheckError:
        return ""
