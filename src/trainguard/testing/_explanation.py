"""Why a comparison with findings fails, in the frames that `trainguard check` prints."""

from __future__ import annotations

from collections.abc import Sequence

from trainguard.findings import Finding, Report
from trainguard.report import text


def compared_findings(left: object, right: object) -> list[str] | None:
    """Lines for pytest; None if the two are no collections of findings, at least one not empty."""
    first, second = _findings(left), _findings(right)
    if first is None or second is None or not (first or second):
        return None
    lines = [f"{_counted(first)} == {_counted(second)}"]
    for side, own, other in (("left", first, second), ("right", second, first)):
        if only := tuple(one for one in own if one not in other):
            lines += [f"only in the {side} one:", *_frames(only)]
    return lines


def _findings(value: object) -> Sequence[Finding] | None:
    if not isinstance(value, list | tuple) or not all(isinstance(one, Finding) for one in value):
        return None
    return value


def _counted(findings: Sequence[Finding]) -> str:
    names = {1: "1 finding", 0: "no finding"}
    return names.get(len(findings), f"{len(findings)} findings")


def _frames(findings: tuple[Finding, ...]) -> list[str]:
    """Symptoms whose cause is not among them are shown like causes."""
    codes = {finding.code for finding in findings if not finding.explained_by}
    alone = [one for one in findings if one.explained_by and not codes & set(one.explained_by)]
    lines = text.full(Report(findings=findings), summary=False).splitlines()
    return [*filter(None, lines), *(f"{one.code} {one.name}: {one.message}" for one in alone)]
