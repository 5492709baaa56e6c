"""The report as SARIF 2.1.0, with every field that GitHub code scanning reads.

A result stands at a line even where its evidence has none, and carries a fingerprint of our own:
GitHub would otherwise report a run or a checkpoint anew with each upload.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import trainguard
from trainguard.findings import Finding, Location, Report, Suppressed
from trainguard.registry import DOCS
from trainguard.report._order import fingerprints, gravest_first, known_checks
from trainguard.report._rules import LEVELS, rule
from trainguard.report._uris import ROOT, artifact
from trainguard.report._words import by_code, clean, plural, sentence, shortened

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
MOST_RESULTS = 25_000
"""GitHub rejects a run with more."""
MOST_BYTES = 10_000_000
"""GitHub rejects a file that is larger when compressed."""
_LONGEST_MESSAGE = 4_000
_MOST_RELATED = 10
_NOTIFICATIONS = {
    "not-checked": "A check that could not decide, and what it would have needed.",
    "note": "Something that was measured or declared and is no finding.",
    "left-out": "Findings that the file has no room for.",
}


def render(report: Report) -> str:
    """One run; where not all results fit, the gravest are kept and the rest is counted."""
    results = _results(report)
    kept = min(len(results), MOST_RESULTS)
    while True:
        content = _log(report, results[:kept], left_out=len(results) - kept)
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if not kept or not _is_too_large(text):
            return text
        kept //= 2


def _is_too_large(text: str) -> bool:
    content = text.encode()
    return len(content) > MOST_BYTES and len(gzip.compress(content, mtime=0)) > MOST_BYTES


def _log(report: Report, results: Sequence[dict[str, Any]], left_out: int) -> dict[str, Any]:
    rules = _rules(report)
    index = {one["id"]: number for number, one in enumerate(rules)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(rules)},
                # What stands before the last slash is the category; an uploader may set its own.
                "automationDetails": {"id": "trainguard/"},
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {
                    ROOT: {"description": {"text": "The folder that trainguard ran in."}}
                },
                "invocations": [_invocation(report, left_out)],
                "results": [{**one, "ruleIndex": index[one["ruleId"]]} for one in results],
            }
        ],
    }


def _driver(rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "trainguard",
        "version": trainguard.__version__,
        "semanticVersion": trainguard.__version__,
        "informationUri": DOCS,
        "rules": rules,
        "notifications": [
            {"id": name, "shortDescription": {"text": words}}
            for name, words in _NOTIFICATIONS.items()
        ],
    }


def _rules(report: Report) -> list[dict[str, Any]]:
    """The checks that decided or found something, sorted by code."""
    found = by_code([*report.findings, *(entry.finding for entry in report.set_aside)])
    known = known_checks()
    codes = sorted({*found, *report.checked})
    return [rule(clean(code), known.get(code), found.get(code, ())) for code in codes]


def _invocation(report: Report, left_out: int) -> dict[str, Any]:
    """Nothing checked is no success; a finding is."""
    return {
        "executionSuccessful": bool(report.subjects),
        "toolExecutionNotifications": [*_not_checked(report), *_notes(report, left_out)],
    }


def _not_checked(report: Report) -> Iterator[dict[str, Any]]:
    """One for each check and reason, with the subjects as its places."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for entry in report.not_checked:
        places = subjects.setdefault((clean(entry.code), clean(entry.reason)), [])
        places += [entry.subject] if entry.subject else []
    for (code, reason), names in subjects.items():
        notification = _notification("not-checked", f"{code} was not checked: {reason}")
        notification["associatedRule"] = {"id": code}
        if names:
            notification["locations"] = [
                {"physicalLocation": {"artifactLocation": artifact(name)}}
                for name in dict.fromkeys(names)
            ]
        yield notification


def _notes(report: Report, left_out: int) -> Iterator[dict[str, Any]]:
    for note in report.notes:
        yield _notification("note", clean(note))
    if left_out:
        text = f"{plural(left_out, 'finding')} left out, the mildest: the file has no room for more"
        yield {**_notification("left-out", text), "level": "warning"}


def _notification(kind: str, text: str) -> dict[str, Any]:
    index = list(_NOTIFICATIONS).index(kind)
    return {
        "descriptor": {"id": kind, "index": index},
        "level": "note",
        "message": _message(text),
    }


def _results(report: Report) -> list[dict[str, Any]]:
    """Gravest first, the suppressed ones at the end."""
    findings = gravest_first(report.findings)
    suppressed = sorted(report.set_aside, key=lambda entry: entry.finding.severity.rank)
    every = [*findings, *(entry.finding for entry in suppressed)]
    marks: Iterable[Suppressed | None] = chain([None] * len(findings), suppressed)
    effects = _effects(report)
    return [
        _result(finding, effects.get((finding.scope, finding.code), ()), fingerprint, mark)
        for finding, fingerprint, mark in zip(every, fingerprints(every), marks, strict=True)
    ]


def _effects(report: Report) -> Mapping[tuple[str, str], Sequence[Finding]]:
    """By scope and code of a cause, the findings that it explains, one for each code."""
    effects: dict[tuple[str, str], dict[str, Finding]] = {}
    for finding in report.findings:
        for code in finding.explained_by:
            effects.setdefault((finding.scope, code), {}).setdefault(finding.code, finding)
    return {place: list(ones.values())[:_MOST_RELATED] for place, ones in effects.items()}


def _result(
    finding: Finding, effects: Sequence[Finding], fingerprint: str, mark: Suppressed | None
) -> dict[str, Any]:
    shown = () if mark or finding.explained_by else effects
    result = {
        "ruleId": clean(finding.code),
        "level": LEVELS[finding.severity],
        "message": _message(_sentences(finding), _links(shown)),
        "locations": [_place(finding)],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint},
    }
    if shown:
        result["relatedLocations"] = [
            {"id": number, **_place(effect), "message": _message(sentence(effect))}
            for number, effect in enumerate(shown, 1)
        ]
    if mark:
        result["suppressions"] = [_suppression(mark)]
    return result


def _sentences(finding: Finding) -> str:
    """The first sentence is the title of the alert."""
    text = f"{sentence(finding).rstrip('.')}."
    if finding.fix:
        text += f"\nHelp: {clean(finding.fix)}."
    if finding.explained_by:
        text += f"\nExplained by {clean(', '.join(finding.explained_by))}."
    return text


def _links(effects: Sequence[Finding]) -> str:
    """GitHub shows related locations where the message links to them."""
    names = [clean(f"{effect.code} {effect.name}") for effect in effects]
    links = [f"[{_unlinked(name)}]({number})" for number, name in enumerate(names, 1)]
    return f"\nExplains {', '.join(links)}." if links else ""


def _message(text: str, links: str = "") -> dict[str, str]:
    """Viewers make a link of `[text](target)`: foreign text must not contain one."""
    return {"text": shortened(text, _LONGEST_MESSAGE).replace("](", "] (") + links or "."}


def _unlinked(text: str) -> str:
    return text.translate({ord("["): "(", ord("]"): ")"})


def _place(finding: Finding) -> dict[str, Any]:
    place = finding.location
    content: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": artifact(place.path or finding.subject),
            "region": _region(place),
        }
    }
    if place.key:
        content["logicalLocations"] = [{"fullyQualifiedName": clean(place.key)}]
    return content


def _region(place: Location) -> dict[str, int]:
    """The first line where there is none: GitHub skips a result without a line."""
    region = {"startLine": place.line or 1}
    if place.line:
        more = {
            "startColumn": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column,
        }
        region |= {name: number for name, number in more.items() if number}
    return region


def _suppression(mark: Suppressed) -> dict[str, str]:
    reason = clean(mark.reason)
    kind = "inSource" if mark.in_source else "external"
    return {"kind": kind, "status": "accepted"} | ({"justification": reason} if reason else {})
