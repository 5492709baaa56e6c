"""The checks as rules of a SARIF file, in the words of their own documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from trainguard.findings import Finding, Precision, Severity
from trainguard.registry import Check
from trainguard.report._words import clean, shortened

LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_PRECISIONS = {
    Precision.EXACT: "very-high",
    Precision.HIGH: "high",
    Precision.MEDIUM: "medium",
}
_PROBLEMS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "recommendation"}
_LONGEST_DESCRIPTION = 1024
_LONGEST_NAME = 255
_SECURITY = {"TG120": "8.8", "TG126": "8.8"}
"""Checks of what runs code of others, with the CVSS 3.1 base score of that: reached over the
network, without privileges, once a person loads the file, everything lost
(AV:N/AC:L/PR:N/UI:R/S:U/C:H/I:H/A:H). A score makes a rule a security rule for GitHub."""


def rule(code: str, check: Check | None, findings: Iterable[Finding]) -> dict[str, Any]:
    """One rule; a check that is not registered is described by what it found."""
    return _described(check) if check else _by_findings(code, next(iter(findings), None))


def _described(check: Check) -> dict[str, Any]:
    sections = _sections(check.doc)
    why = " ".join(_unfenced(sections.get("Why is this bad?", "")).split())
    summary = f"{check.summary}."
    content = {
        "id": check.code,
        "name": check.name[:_LONGEST_NAME],
        "shortDescription": _text(summary),
        "fullDescription": _text(f"{summary} {why}".strip()),
        "help": _help(check, sections),
        "helpUri": check.url,
        "defaultConfiguration": {"level": LEVELS[check.severity]},
        "properties": _properties(check),
    }
    return {name: value for name, value in content.items() if value}


def _text(text: str) -> dict[str, str]:
    return {"text": shortened(clean(text), _LONGEST_DESCRIPTION)}


def _help(check: Check, sections: dict[str, str]) -> dict[str, str]:
    """The text is what to do; the Markdown, which GitHub prefers, the whole documentation."""
    instead = _unfenced(sections.get("Instead", ""))
    text = f"{check.summary}.\n\n{instead}".strip()
    link = f"\n\n[{check.code} {check.name}]({check.url})" if check.url else ""
    return {"text": _lines(text), "markdown": _lines(check.doc) + link}


def _lines(text: str) -> str:
    return "\n".join(map(clean, text.splitlines()))


def _sections(doc: str) -> dict[str, str]:
    """The sections of a check's documentation by their titles."""
    _, *parts = re.split(r"^## (.+)$", doc, flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)}


def _unfenced(text: str) -> str:
    return re.sub(r"^```.*?^```\n?", "", text, flags=re.MULTILINE | re.DOTALL).strip()


def _properties(check: Check) -> dict[str, Any]:
    properties = {
        "tags": ["training", *_family(check)],
        "precision": _PRECISIONS[check.precision],
        "problem.severity": _PROBLEMS[check.severity],
    }
    if score := _SECURITY.get(check.code):
        properties |= {"tags": ["security", *properties["tags"]], "security-severity": score}
    return properties


def _family(check: Check) -> list[str]:
    """The folder that the check stands in; a plugin's check has none."""
    parts = check.judge.__module__.split(".")
    is_own = parts[:2] == ["trainguard", "checks"] and len(parts) > 3
    return [parts[2]] if is_own else []


def _by_findings(code: str, finding: Finding | None) -> dict[str, Any]:
    name = clean(finding.name if finding else "") or code
    severity = finding.severity if finding else Severity.WARNING
    precision = (finding and finding.precision) or Precision.MEDIUM
    words = {"text": f"{name}, a check that is not installed where this file was written."}
    return {
        "id": code,
        "name": name[:_LONGEST_NAME],
        "shortDescription": words,
        "fullDescription": words,
        "help": words,
        "defaultConfiguration": {"level": LEVELS[severity]},
        "properties": {
            "tags": ["training"],
            "precision": _PRECISIONS[precision],
            "problem.severity": _PROBLEMS[severity],
        },
    }
