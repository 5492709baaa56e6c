"""The report as JSON lines: one line an entry, each with its `kind`, the summary last.

Kinds are `finding`, `suppressed`, `known`, `not_checked`, `note` and `summary`; the fields are
those of the JSON format (`trainguard.report.schema`). The lines are ASCII, so that no reader
splits them elsewhere than at a line feed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from trainguard.findings import Report

DELETE = "\x7f"
"""The one control character that is ASCII and that JSON lets through."""


def render(report: Report) -> str:
    """Strict JSON, an object a line."""
    content = json.loads(report.to_json(indent=None))
    lines = [json.dumps(entry, ensure_ascii=True) for entry in _entries(content)]
    return "\n".join(lines).replace(DELETE, "\\u007f") + "\n"


def _entries(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for finding in content["findings"]:
        yield {"kind": "finding", **finding}
    for finding in content["suppressed"]:
        yield {"kind": "suppressed", **finding}
    for finding in content["known"]:
        yield {"kind": "known", **finding}
    for entry in content["not_checked"]:
        yield {"kind": "not_checked", **entry}
    for note in content["notes"]:
        yield {"kind": "note", "text": note}
    summary = {"version": content["version"], "checked": content["checked"]}
    yield {"kind": "summary", **summary, **content["summary"]}
