"""The report as the output of a notebook's cell: a piece of HTML that needs nothing else.

It takes the colours of the page around it, light or dark, and adds only such that are legible on
both. Styles stand at the elements, since notebooks are shown by programs that drop style sheets.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from trainguard.findings import Finding, Location, Report
from trainguard.report._words import (
    address,
    by_code,
    clean,
    looked_at,
    plural,
    reasons_not_checked,
    sentence,
)

#: Causes that are shown; `print(report)` shows all.
MOST = 20

_BADGES = {"error": "#c62828", "warning": "#9a5b00", "info": "#00708a"}
_MONO = "font-family:ui-monospace,monospace;font-size:0.9em"
_FRAME = f"margin:2px 0;padding:4px 8px;background:#8881;overflow-x:auto;{_MONO}"
_BLOCK = "margin:8px 0;padding:2px 10px;border-left:3px solid"


def render(report: Report) -> str:
    """A `div` with the causes, gravest first, what they explain, and what was looked at."""
    parts = [_cause(report, cause) for cause in report.causes[:MOST]]
    if (hidden := len(report.causes) - MOST) > 0:
        parts.append(f"<p>and {plural(hidden, 'more cause')}; print(report) shows all</p>")
    parts += [f"<p>note: {_safe(note)}</p>" for note in report.notes]
    parts += _summary(report)
    # The classes keep formula renderers away from messages that contain dollar signs.
    body = "\n".join(parts)
    return f'<div class="trainguard tex2jax_ignore mathjax_ignore">\n{body}\n</div>'


def _cause(report: Report, cause: Finding) -> str:
    colour = _BADGES[cause.severity.value]
    badge = f"padding:1px 6px;border-radius:3px;color:#fff;background:{colour};{_MONO}"
    lines = [
        f'<div style="{_BLOCK} {colour}">',
        f'<div><span style="{badge}">{cause.severity.value} {_safe(cause.code)}</span> '
        f"<b>{_safe(cause.name)}</b>: {_safe(sentence(cause))}</div>",
        f'<div style="opacity:0.75;{_MONO}">{escape(address(cause.location))}</div>',
        *_frame(cause.location),
    ]
    if cause.fix:
        lines.append(f"<div><b>help:</b> {_safe(cause.fix)}</div>")
    return "\n".join([*lines, *_symptoms(report, cause), "</div>"])


def _frame(location: Location) -> Iterator[str]:
    rows = [(line.label, line.text, line.marked) for line in location.excerpt]
    if not rows and location.key:
        value = f": {location.value}" if location.value is not None else ""
        rows = [(str(location.line or ""), f"{location.key}{value}", True)]
    if not rows:
        return
    width = max(len(label) for label, _, _ in rows)
    yield f'<pre style="{_FRAME}">' + "\n".join(_row(*row, width) for row in rows) + "</pre>"


def _row(label: str, text: str, marked: bool, width: int) -> str:
    row = _safe(f"{'>' if marked else ' '} {label:>{width}} | {text}")
    return f"<b>{row}</b>" if marked else row


def _symptoms(report: Report, cause: Finding) -> Iterator[str]:
    groups = by_code(report.symptoms_of(cause))
    if not groups:
        return
    yield f"<details><summary>explains {plural(len(groups), 'more finding')}</summary><ul>"
    for code, symptoms in groups.items():
        first = symptoms[0]
        yield f"<li>{_safe(code)} {_safe(first.name)}: {_safe(sentence(first))}</li>"
    yield "</ul></details>"


def _summary(report: Report) -> Iterator[str]:
    yield f"<p>{escape(looked_at(report))}</p>"
    reasons = reasons_not_checked(report)
    if not reasons:
        return
    number = len({code for codes in reasons.values() for code in codes})
    yield f"<details><summary>{plural(number, 'check')} without the evidence</summary><ul>"
    for reason, codes in reasons.items():
        yield f"<li>{escape(', '.join(codes))}: {escape(reason)}</li>"
    yield "</ul></details>"


def _safe(text: str) -> str:
    return escape(clean(text))
