"""The report as Markdown for a pull request comment or a step summary of GitHub or GitLab.

Causes lead, their symptoms and what was not checked are folded. Names and messages come from
files: none of them becomes a link, a mention, a reference to an issue, HTML or a heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

from trainguard.findings import ExcerptLine, Finding, Report
from trainguard.report._order import known_checks
from trainguard.report._words import (
    address,
    by_code,
    clean,
    looked_at,
    plural,
    reasons_not_checked,
    sentence,
    shortened,
)

LIMIT = 65_000
"""Characters; GitHub rejects a comment of more than 65,536."""
_LONGEST_TEXT = 1_000
_MOST_ROWS = 20
_LONGEST_ROW = 200
_LONGEST_LIST = 8_000
"""Characters of one list; with them, one cause and all that follows the causes has room."""
_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~$!]")
# Autolinks are found in the rendered text, where a backslash is gone: these are parted by a
# space without width, which a reader does not see.
_LINKING = re.compile(r"(@|#|://|\bwww\.|\bGH-)", re.IGNORECASE)
_PARTED = "&#8203;"


def render(report: Report) -> str:
    """Causes first; what has no room is counted."""
    head = f"## trainguard\n\n{_prose(looked_at(report))}\n"
    tail = "".join(f"\n{block}\n" for block in _tail(report))
    room = LIMIT - len(head) - len(tail) - 100
    parts = [head]
    for number, cause in enumerate(report.causes):
        block = "\n" + "\n\n".join(_cause(report, cause)) + "\n"
        room -= len(block)
        if room < 0:
            parts.append(f"\n{plural(len(report.causes) - number, 'cause')} more, not shown.\n")
            break
        parts.append(block)
    return "".join([*parts, tail])


def _cause(report: Report, cause: Finding) -> Iterator[str]:
    yield f"### {cause.severity.value} {_link(cause.code)} {_prose(cause.name)}"
    yield f"**Found:** {_prose(sentence(cause))}"
    if place := address(cause.location) or clean(cause.subject):
        yield _span(place)
    if cause.location.excerpt:
        yield _frame(cause.location.excerpt[:_MOST_ROWS])
    if cause.fix:
        yield f"**Help:** {_prose(clean(cause.fix))}"
    if symptoms := report.symptoms_of(cause):
        yield _folded(f"Explains {plural(len(symptoms), 'finding')}", _symptoms(symptoms))


def _symptoms(findings: Sequence[Finding]) -> list[str]:
    """One line a check: the first of its findings, and how many places more."""
    lines = []
    for code, ones in by_code(findings).items():
        first = ones[0]
        more = f" and {len(ones) - 1} more" if len(ones) > 1 else ""
        where = _span(clean(first.subject) or address(first.location))
        lines.append(f"{_link(code)} {_prose(first.name)}: {_prose(sentence(first))} {where}{more}")
    return lines


def _tail(report: Report) -> Iterator[str]:
    if report.notes:
        yield _list([f"Note: {_prose(note)}" for note in report.notes])
    if report.set_aside:
        lines = [
            f"{_link(one.finding.code)} {_prose(one.finding.name)} "
            f"{_span(address(one.finding.location))}: {_prose(one.reason or 'no reason given')}"
            for one in report.set_aside
        ]
        yield _folded(f"{len(lines)} suppressed or accepted", lines)
    if report.not_checked:
        lines = [
            f"{_prose(', '.join(codes))}: {_prose(reason)}"
            for reason, codes in reasons_not_checked(report).items()
        ]
        number = len({entry.code for entry in report.not_checked})
        yield _folded(f"{plural(number, 'check')} without the evidence", lines)


def _folded(title: str, lines: Sequence[str]) -> str:
    return f"<details><summary>{title}</summary>\n\n{_list(lines)}\n\n</details>"


def _list(lines: Sequence[str]) -> str:
    ends = accumulate(len(line) + 3 for line in lines)
    shown = [f"- {line}" for line, end in zip(lines, ends, strict=True) if end <= _LONGEST_LIST]
    if len(shown) < len(lines):
        shown.append(f"- {len(lines) - len(shown)} more")
    return "\n".join(shown)


def _link(code: str) -> str:
    """The code, with its page of the documentation if it has one."""
    check = known_checks().get(code)
    return f"[{code}]({check.url})" if check and check.url else _prose(code)


def _prose(text: str) -> str:
    """Text that stays text inside of a line; what stands between backticks is code."""
    pieces = re.split("`([^`]+)`", shortened(clean(text), _LONGEST_TEXT).strip())
    return "".join(_span(one) if at % 2 else _escaped(one) for at, one in enumerate(pieces))


def _escaped(text: str) -> str:
    return _LINKING.sub(_part, _SPECIAL.sub(r"\\\g<0>", text))


def _part(match: re.Match[str]) -> str:
    found = match[0]
    if found == "://":
        return f":{_PARTED}//"
    return found + _PARTED if len(found) == 1 else f"{found[:-1]}{_PARTED}{found[-1]}"


def _span(text: str) -> str:
    """A code span, fenced by more backticks than the text has in a row."""
    text = shortened(text, _LONGEST_TEXT).strip()
    if not text:
        return ""
    ticks = "`" * (_longest_row(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"{ticks}{text}{ticks}"


def _frame(rows: Sequence[ExcerptLine]) -> str:
    labels = [shortened(clean(row.label), _LONGEST_ROW) for row in rows]
    width = max(map(len, labels))
    lines = [
        f"{'>' if row.marked else ' '} {label:>{width}} | "
        f"{shortened(clean(row.text), _LONGEST_ROW)}"
        for label, row in zip(labels, rows, strict=True)
    ]
    fence = "`" * max(3, _longest_row("\n".join(lines)) + 1)
    return "\n".join([f"{fence}text", *lines, fence])


def _longest_row(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
