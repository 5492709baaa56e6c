"""The diagnosis on the page: each cause with its place, its fix, and its symptoms folded in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trainguard.findings import Finding, Location, Report
from trainguard.registry import UnknownCheckError, find
from trainguard.report.html_text import escaped, plural, prose

#: Causes that are shown in full, and those that get a line.
IN_FULL, IN_LINES = 40, 400
#: Symptoms of one cause that are shown.
MAX_SYMPTOMS = 50
#: Lines of an excerpt that are shown.
MAX_LINES = 40


def diagnosis(report: Report) -> Iterator[str]:
    """The section that comes first."""
    causes = report.causes
    places = anchors(report.findings)
    yield '<section aria-labelledby="diagnosis">'
    yield '<h2 id="diagnosis">Diagnosis</h2>'
    if not causes:
        yield f'<p class="verdict">{_no_cause(report)}</p>'
    for cause in causes[:IN_FULL]:
        yield from _card(report, cause, places)
    yield from _list(causes[IN_FULL : IN_FULL + IN_LINES])
    if len(causes) > IN_FULL + IN_LINES:
        yield f"<p>{plural(len(causes) - IN_FULL - IN_LINES, 'more cause')}: see the JSON.</p>"
    yield "</section>"


def anchors(findings: Sequence[Finding]) -> dict[int, str]:
    """By the identity of each finding, where on the page it stands."""
    return {id(finding): f"finding-{number}" for number, finding in enumerate(findings, start=1)}


def _no_cause(report: Report) -> str:
    if not report.subjects:
        return (
            "No adapter, checkpoint, model, training run, log, data set or source was recognised: "
            "nothing was checked, which is no clean bill."
        )
    return f"Nothing is wrong that {plural(len(report.checked), 'check')} could see."


def _card(report: Report, cause: Finding, places: dict[int, str]) -> Iterator[str]:
    severity = cause.severity.value
    yield f'<article class="cause {severity}"{_anchor(cause, places)}>'
    yield (
        f'<h3><span class="badge">{severity}</span> <span class="code">{escaped(cause.code)}</span>'
        f" {escaped(cause.name)}</h3>"
    )
    yield f'<p class="message">{prose(cause.message)}</p>'
    if cause.fix:
        yield f'<p class="fix"><strong>Fix</strong> {prose(cause.fix)}</p>'
    yield from _place(cause.location)
    yield from _symptoms(report.symptoms_of(cause), cause, places)
    yield from _reason(cause.code)
    yield "</article>"


def _place(location: Location) -> Iterator[str]:
    yield f'<p class="place">{escaped(address(location))}</p>'
    rows = [(row.label, row.text, row.marked) for row in location.excerpt[:MAX_LINES]]
    if not rows and location.key:
        value = f": {location.value}" if location.value is not None else ""
        rows = [(str(location.line or ""), f"{location.key}{value}", True)]
    if not rows:
        return
    yield '<div class="scroll" role="group" aria-label="The place" tabindex="0">'
    yield '<table class="frame">'
    yield '<thead class="hidden"><tr><th>at</th><th>what stands there</th></tr></thead><tbody>'
    for label, text, marked in rows:
        row = ' class="marked"' if marked else ""
        yield f'<tr{row}><th scope="row">{escaped(label)}</th><td>{escaped(text)}</td></tr>'
    yield "</tbody></table></div>"


def address(location: Location) -> str:
    """File, line and step."""
    line = f":{location.line}" if location.line else ""
    step = f"step {location.step}" if location.step is not None else ""
    return ", ".join(part for part in (f"{location.path or ''}{line}", step) if part)


def _anchor(finding: Finding, places: dict[int, str]) -> str:
    """Where links lead; a symptom of several causes stands under each, and has it once."""
    place = places.pop(id(finding), "")
    return f' id="{place}"' if place else ""


def _symptoms(symptoms: Sequence[Finding], cause: Finding, places: dict[int, str]) -> Iterator[str]:
    if not symptoms:
        return
    codes = ", ".join(dict.fromkeys(symptom.code for symptom in symptoms))
    yield (
        f"<details><summary>Explains {plural(len(symptoms), 'symptom')} ({escaped(codes)})"
        "</summary><ul>"
    )
    for symptom in symptoms[:MAX_SYMPTOMS]:
        where = f" ({symptom.subject})" if symptom.subject != cause.subject else ""
        yield (
            f'<li{_anchor(symptom, places)}><span class="code">{escaped(symptom.code)}</span> '
            f"{escaped(symptom.name)}: "
            f"{prose(symptom.message)}{escaped(where)}</li>"
        )
    if len(symptoms) > MAX_SYMPTOMS:
        yield f"<li>and {len(symptoms) - MAX_SYMPTOMS} more</li>"
    yield "</ul></details>"


def _reason(code: str) -> Iterator[str]:
    """What the check's documentation says, and where to read all of it."""
    try:
        check = find(code)
    except UnknownCheckError:
        return
    reason = _section(check.doc, "Why is this bad?")
    url = str(getattr(check, "url", "") or "")
    more = f"<code>trainguard explain {escaped(code)}</code>"
    if url.startswith("https://"):
        more += f' or <a href="{escaped(url)}" rel="noreferrer noopener">its page</a>'
    yield "<details><summary>Why is this bad?</summary>"
    yield from (f"<p>{prose(paragraph)}</p>" for paragraph in reason)
    yield f'<p class="muted">More: {more}</p></details>'


def _section(doc: str, title: str) -> list[str]:
    """The paragraphs below a title of the documentation, without what is set as a block."""
    _, _, after = doc.partition(f"## {title}\n")
    text, _, _ = after.partition("\n## ")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return [part for part in paragraphs if part and not part.startswith("```")][:4]


def _list(findings: Iterable[Finding]) -> Iterator[str]:
    lines = [
        f'<li><span class="code">{escaped(one.code)}</span> {escaped(one.severity.value)} '
        f"{escaped(one.name)}: {prose(one.message)} ({escaped(address(one.location))})</li>"
        for one in findings
    ]
    if lines:
        yield from ("<h3>More causes</h3>", "<ul>", *lines, "</ul>")
