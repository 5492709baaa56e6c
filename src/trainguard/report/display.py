"""How a Report shows itself: `print(report)`, and the last line of a notebook's cell.

`trainguard.findings` knows no format, so the report layer tells it here; `import trainguard`
imports this module, and nothing else of the layer until a report is shown.
"""

from __future__ import annotations

from trainguard.findings import PRESENTERS, Report


def _as_text(report: Report) -> str:
    from trainguard.report import text

    return text.full(report)


def _as_html(report: Report) -> str:
    from trainguard.report import notebook

    return notebook.render(report)


PRESENTERS.update(text=_as_text, html=_as_html)
