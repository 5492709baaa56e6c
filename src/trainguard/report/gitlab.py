"""The report for GitLab's code quality widget: a JSON array of issues."""

from __future__ import annotations

import json
from typing import Any

from trainguard.findings import Finding, Report, Severity, relative_path
from trainguard.report._order import fingerprints, gravest_first
from trainguard.report._words import clean, sentence

_SEVERITIES = {Severity.ERROR: "major", Severity.WARNING: "minor", Severity.INFO: "info"}


def render(report: Report) -> str:
    """Strict JSON; GitLab drops issues that share a fingerprint, so none do."""
    findings = gravest_first(report.findings)
    issues = [_issue(*pair) for pair in zip(findings, fingerprints(findings), strict=True)]
    return json.dumps(issues, indent=2, ensure_ascii=False) + "\n"


def _issue(finding: Finding, fingerprint: str) -> dict[str, Any]:
    fix = f"; {clean(finding.fix)}" if finding.fix else ""
    return {
        "type": "issue",
        "description": f"{clean(finding.code)}: {sentence(finding)}{fix}",
        "check_name": clean(finding.name or finding.code),
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[finding.severity],
        "location": _location(finding),
    }


def _location(finding: Finding) -> dict[str, Any]:
    """GitLab wants a line; what has none is shown at the first."""
    place = finding.location
    lines = {"begin": place.line or 1}
    if place.line and place.end_line:
        lines["end"] = place.end_line
    return {"path": clean(relative_path(place.path or finding.subject)), "lines": lines}
