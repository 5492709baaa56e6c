"""The report as one page: the diagnosis first, then the curves of the runs, then the rest.

The file is all there is: it has no script, asks for nothing, and its style comes with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files

from trainguard.facts.run import Run
from trainguard.findings import Report, Severity
from trainguard.report.html_findings import diagnosis
from trainguard.report.html_rest import rest
from trainguard.report.html_run import run_section
from trainguard.report.html_text import escaped, plural

__all__ = ["Run", "render"]

#: Runs that are drawn; the others are named.
MAX_RUNS = 20
#: Nothing is loaded, from anywhere: no script, no font, no picture, no form, no frame.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render(report: Report, runs: Sequence[Run] = ()) -> str:
    """The page, as the text of one self-contained HTML file.

    Args:
        report: what was found.
        runs: what was recorded of the training runs among its subjects; their curves are drawn.
    """
    drawn = [run for run in runs if run.steps or run.layers]
    return "\n".join(
        [
            *_head(report),
            *diagnosis(report),
            *_runs(report, drawn[:MAX_RUNS]),
            *_undrawn(drawn[MAX_RUNS:]),
            *rest(report),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _runs(report: Report, runs: Sequence[Run]) -> Iterator[str]:
    for index, run in enumerate(runs):
        yield from run_section(run, report.findings, index)


def _head(report: Report) -> Iterator[str]:
    title = verdict(report)
    yield "<!doctype html>"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>trainguard: {escaped(title)}</title>"
    yield f"<style>\n{files(__package__).joinpath('html.css').read_text('utf-8')}</style>"
    yield "</head>"
    yield f'<body class="{_worst(report)}">'
    yield "<main>"
    yield "<header>"
    yield f"<h1>{escaped(title)}</h1>"
    yield f'<p class="muted">trainguard {escaped(_looked_at(report))}</p>'
    yield "</header>"


def verdict(report: Report) -> str:
    """The outcome in a few words."""
    if not report.subjects:
        return "Nothing was recognised to check"
    if not report.findings:
        return "No finding"
    found = [
        plural(report.count(severity), severity.value)
        for severity in (Severity.ERROR, Severity.WARNING)
        if report.count(severity)
    ]
    if infos := report.count(Severity.INFO):
        found.append(f"{infos} info")
    words = ", ".join(found)
    is_plain = len(report.causes) == len(report.findings)
    return words if is_plain else f"{plural(len(report.causes), 'cause')} behind {words}"


def _worst(report: Report) -> str:
    if not report.subjects:
        return "nothing"
    ranked = sorted((finding.severity for finding in report.findings), key=lambda one: one.rank)
    return ranked[0].value if ranked else "clean"


def _looked_at(report: Report) -> str:
    kinds = Counter(subject.kind for subject in report.subjects)
    seen = ", ".join(plural(number, kind) for kind, number in kinds.items())
    names = list(dict.fromkeys(subject.name for subject in report.subjects))
    one = f" ({names[0]})" if len(names) == 1 else ""
    undecided = len({entry.code for entry in report.not_checked})
    rest = f", {undecided} had nothing to decide on" if undecided else ""
    decided = plural(len(report.checked), "check")
    return f"looked at {seen or 'nothing'}{one}; {decided} decided{rest}."


def _undrawn(runs: Sequence[Run]) -> Iterator[str]:
    if runs:
        names = ", ".join(escaped(run.name) for run in runs[:MAX_RUNS])
        yield f'<p class="muted">{plural(len(runs), "more run")} not drawn: {names}.</p>'
