"""The report for programs; the format is `trainguard.findings.JSON_VERSION`."""

from __future__ import annotations

from trainguard.findings import Report


def render(report: Report) -> str:
    """Strict JSON with a final newline."""
    return report.to_json() + "\n"
