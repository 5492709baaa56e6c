"""The JSON format, written down as a JSON Schema (draft 2020-12)."""

from __future__ import annotations

from typing import Any

from trainguard.findings import JSON_VERSION, ExitCode, Precision, Severity
from trainguard.registry import DOCS

PROMISE = """\
The report of trainguard as `--output-format json`, `Report.to_json()` and a run's `report.json`
write it.

Compatibility: within one `version` no field that is described here is removed, renamed, given
another type or another meaning, and none that is required becomes optional. Fields and checks may
be added in any release, so a reader ignores names that it does not know and accepts codes of
checks that it does not know. What breaks this raises `version` by one. The order of `findings`
(causes before symptoms, then gravest first), the wording of `message`, `fix`, `reason` and `notes`,
and the keys of `evidence` are for people and are not promised. Numbers that JSON cannot hold are
the strings "nan", "inf" and "-inf". Lines, columns and steps count from 1, columns in Unicode code
points, and an end column is the first behind the place.

Each line of `--output-format jsonl` is one of these objects with a `kind`: `finding`,
`suppressed`, `known`, `not_checked`, `note` (with its `text`), and, last, `summary`, which also
holds `version` and `checked`."""

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_FROM_ONE = {"type": "integer", "minimum": 1}
_COUNT = {"type": "integer", "minimum": 0}


def schema() -> dict[str, Any]:
    """What the JSON of a report looks like, and what is promised about it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{DOCS}report-v{JSON_VERSION}.schema.json",
        "title": f"trainguard report, version {JSON_VERSION}",
        "description": PROMISE,
        **_object(
            {
                "version": {"const": JSON_VERSION},
                "findings": _array("finding"),
                "checked": {**_TEXTS, "description": "Codes of the checks that decided, sorted."},
                "not_checked": _array("not_checked"),
                "suppressed": _array("suppressed"),
                "known": {
                    **_array("finding"),
                    "description": "Findings that the baseline accepts.",
                },
                "notes": {**_TEXTS, "description": "What was measured and is no finding."},
                "summary": {"$ref": "#/$defs/summary"},
            }
        ),
        "$defs": {
            "finding": _finding(),
            "suppressed": _suppressed(),
            "location": _location(),
            "not_checked": _not_checked(),
            "summary": _summary(),
        },
    }


def _finding() -> dict[str, Any]:
    return _object(
        {
            "code": {**_TEXT, "description": "The check's code, such as TG501; stable."},
            "name": {**_TEXT, "description": "The check's name, such as hidden-nan-loss; stable."},
            "severity": {"enum": [one.value for one in Severity]},
            "precision": {"enum": [*(one.value for one in Precision), None]},
            "message": {**_TEXT, "description": "What is wrong, where, and what follows from it."},
            "fix": {**_TEXT, "description": "What to do; may be empty."},
            "subject": {**_TEXT, "description": "What was looked at: a folder, a run, a model."},
            "location": {"$ref": "#/$defs/location"},
            "evidence": {"type": "object", "description": "The numbers behind the message."},
            "explained_by": {
                **_TEXTS,
                "description": "Codes of the causes of this symptom; empty for a cause.",
            },
        }
    )


def _suppressed() -> dict[str, Any]:
    content = _finding()
    content["properties"]["suppressed_because"] = {
        **_TEXT,
        "description": "The reason that the comment gives; may be empty.",
    }
    content["required"].append("suppressed_because")
    return content


def _location() -> dict[str, Any]:
    return _object(
        {
            "path": {**_TEXT, "description": "File or folder, as the user named it."},
            "line": _FROM_ONE,
            "column": _FROM_ONE,
            "end_line": _FROM_ONE,
            "end_column": _FROM_ONE,
            "key": {**_TEXT, "description": "Config key, tensor, parameter or attribute."},
            "value": {**_TEXT, "description": "What stands there, as text."},
            "step": {"type": "integer", "description": "Optimizer step, from 1."},
        },
        required=[],
    )


def _not_checked() -> dict[str, Any]:
    return _object(
        {
            "code": _TEXT,
            "reason": {**_TEXT, "description": "What the check would have needed."},
            "subject": {**_TEXT, "description": "Absent if it holds for all that was looked at."},
        },
        required=["code", "reason"],
    )


def _summary() -> dict[str, Any]:
    return _object(
        {
            **{severity.value: _COUNT for severity in Severity},
            "causes": _COUNT,
            "subjects": {"type": "array", "items": _object({"name": _TEXT, "kind": _TEXT})},
            "exit_code": {
                "enum": [ExitCode.CLEAN, ExitCode.FINDINGS, ExitCode.NOTHING_CHECKED],
                "description": "Clean, findings that fail, nothing checked.",
            },
        }
    )


def _array(of: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/$defs/{of}"}}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "required": names, "properties": properties}
