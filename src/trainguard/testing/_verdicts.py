"""What every check says of every subject, and which finding explains which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from trainguard.config import Settings
from trainguard.diagnosis import explain
from trainguard.engine import judge
from trainguard.facts.evidence import Evidence
from trainguard.findings import Finding, Report
from trainguard.registry import Check, plugin_failures


@dataclass(slots=True)
class Verdict:
    """What one check says of one subject."""

    check: Check
    findings: list[Finding] = field(default_factory=list)
    undecided: str | None = None
    """Why it could not decide; None if it did."""


@dataclass(slots=True)
class Judged:
    """Everything that was recognised, by subject in the order it was met."""

    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    """By subject and code. A check that is not about such a subject has no entry."""
    findings: tuple[Finding, ...] = ()

    def symptoms_of(self, cause: Finding) -> tuple[Finding, ...]:
        """The findings that this one explains."""
        return Report(findings=self.findings).symptoms_of(cause)

    def causes_of(self, symptom: Finding) -> list[Finding]:
        """The unexplained findings that explain this one, if any."""
        return [
            one
            for one in self.findings
            if one.scope == symptom.scope
            and one.code in symptom.explained_by
            and not one.explained_by
        ]


def judged(evidences: Iterable[Evidence], settings: Settings) -> Judged:
    """Judge each piece of evidence once, and explain the findings of all of them.

    One subject may come in several pieces, as a folder that is a run and an adapter. The evidence
    is let go as soon as it is judged.
    """
    checks = settings.selected
    found: list[Finding] = []
    result = Judged()
    for evidence in evidences:
        report = _judged_alone(evidence, settings, is_first=not result.verdicts)
        found += report.findings
        table = result.verdicts.setdefault(evidence.subject, {})
        for verdict in _verdicts(evidence, report, checks):
            _note(table, verdict)
    result.findings = explain(found, {one.code: one.explains for one in checks})
    for finding in result.findings:
        result.verdicts[finding.subject][finding.code].findings.append(finding)
    return result


def _judged_alone(evidence: Evidence, settings: Settings, *, is_first: bool) -> Report:
    """A plugin whose checks could not be loaded is reported once."""
    report = judge([evidence], settings.selected, excused=settings.excused)
    unloaded = set() if is_first else {failure.what for failure in plugin_failures()}
    kept = [one for one in report.findings if one.location.key not in unloaded]
    return replace(report, findings=tuple(kept))


def _verdicts(evidence: Evidence, report: Report, checks: Sequence[Check]) -> Iterator[Verdict]:
    reasons = {one.code: one.reason for one in report.not_checked if one.subject}
    fired = {finding.code for finding in report.findings}
    for check in checks:
        if check.code in report.checked or check.code in fired:
            yield Verdict(check)
        elif check.code in reasons:
            yield Verdict(check, undecided=reasons[check.code])
        elif not check.missing(evidence):
            yield Verdict(check, undecided="the check failed; TG000 tells why")


def _note(table: dict[str, Verdict], verdict: Verdict) -> None:
    """A piece of evidence that decides outweighs one that does not."""
    known = table.get(verdict.check.code)
    if known is None or (known.undecided is not None and verdict.undecided is None):
        table[verdict.check.code] = verdict
