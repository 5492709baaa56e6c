"""Facts to report: run the selected checks over the evidence and explain what they find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from trainguard.diagnosis import explain
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.suppression import Suppression
from trainguard.findings import Finding, NotChecked, Report, Severity, Subject, Suppressed
from trainguard.registry import Check, plugin_failures, select


def judge(
    evidences: Iterable[Evidence],
    checks: Sequence[Check] | None = None,
    *,
    fail_on: Severity | None = Severity.ERROR,
) -> Report:
    """Run the checks over every piece of evidence.

    A check that raises becomes a TG000 finding; it never raises here.

    Args:
        evidences: what the gatherers read, one per subject.
        checks: as `registry.select` returns them; all by default.
        fail_on: the mildest severity that gives exit status 1; None never does.
    """
    checks = select() if checks is None else checks
    tally = _Tally()
    unloaded = plugin_failures()
    for evidence in evidences:  # one at a time: the facts of a large project do not fit at once
        _judge_one(evidence, checks, tally, unloaded)
        unloaded = ()  # once a report is enough
        tally.subjects.append(Subject(evidence.subject, evidence.kind))
        tally.notes += evidence.notes
    explains = {one.code: one.explains for one in checks}
    return Report(
        findings=explain(tally.findings, explains),
        checked=tuple(sorted(tally.ran)),
        not_checked=(*tally.undecided, *_without_evidence(checks, tally)),
        suppressed=tuple(tally.suppressed),
        notes=tuple(tally.notes),
        subjects=tuple(tally.subjects),
        fail_on=fail_on,
    )


def join(reports: Sequence[Report], scope: str) -> Report:
    """One report of several looks at the same run, its findings explained anew.

    Args:
        reports: of the run's files, of its first batch, of its score; of a fault that several of
            them name, what the first says is kept.
        scope: the run.
    """
    findings: list[Finding] = []
    for report in reports:
        known = {finding.code for finding in findings}
        new = (finding for finding in report.findings if finding.code not in known)
        findings += [replace(finding, scope=scope) for finding in new]
    checked = {code for report in reports for code in report.checked}
    undecided = dict.fromkeys(entry for report in reports for entry in report.not_checked)
    return Report(
        findings=explain(findings, {one.code: one.explains for one in select()}),
        checked=tuple(sorted(checked)),
        not_checked=tuple(entry for entry in undecided if entry.code not in checked),
        subjects=tuple(dict.fromkeys(one for report in reports for one in report.subjects)),
        suppressed=tuple(one for report in reports for one in report.suppressed),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


@dataclass
class _Tally:
    findings: list[Finding] = field(default_factory=list)
    ran: set[str] = field(default_factory=set)
    undecided: list[NotChecked] = field(default_factory=list)
    suppressed: list[Suppressed] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, finding: Finding, suppressions: Iterable[Suppression]) -> None:
        """A finding counts unless a comment in its file covers it."""
        place = finding.location
        for one in suppressions:
            if one.covers(finding.code, finding.name, place.line):
                self.suppressed.append(Suppressed(finding, one.reason))
                return
        self.findings.append(finding)


def _judge_one(
    evidence: Evidence, checks: Sequence[Check], tally: _Tally, unloaded: Sequence[Failure]
) -> None:
    failures: list[Failure] = [*evidence.facts.get(Failure, ()), *unloaded]
    for one in checks:
        if one.reports_failures:
            continue
        if missing := one.missing(evidence):
            _note_absence(one, missing, evidence, tally)
        else:
            failures.extend(_run(one, evidence, tally))
    for one in checks:
        if one.reports_failures:
            _run(one, replace(evidence, facts={Failure: tuple(failures)}), tally)


def _run(one: Check, evidence: Evidence, tally: _Tally) -> list[Failure]:
    """Collect the check's verdicts; what it said before it raised still counts."""
    decided = True
    try:
        for verdict in one.run(evidence):
            if isinstance(verdict, NotChecked):
                tally.undecided.append(verdict)
                decided = False
            else:
                tally.note(verdict, evidence.facts.get(Suppression, ()))
    except Exception as error:  # a broken check must not hide what the others found
        return [Failure(f"check {one.code} {one.name}", f"{type(error).__name__}: {error}")]
    if decided:
        tally.ran.add(one.code)
    return []


def _note_absence(one: Check, missing: Sequence[type], evidence: Evidence, tally: _Tally) -> None:
    """Only facts that such a subject should have are worth a word about this subject."""
    reasons = [evidence.absent[kind] for kind in missing if kind in evidence.absent]
    if reasons:
        tally.undecided.append(NotChecked(reasons[0], code=one.code, subject=evidence.subject))


def _without_evidence(checks: Sequence[Check], tally: _Tally) -> list[NotChecked]:
    spoken_for = tally.ran | {entry.code for entry in tally.undecided}
    spoken_for |= {finding.code for finding in tally.findings}
    return [
        NotChecked(f"needs {_wanted(one)}; none was given", code=one.code)
        for one in checks
        if one.code not in spoken_for
    ]


def _wanted(one: Check) -> str:
    kinds = [need.kind for need in one.needs if not need.optional]
    return " and ".join(getattr(kind, "WANTED", kind.__name__) for kind in kinds)
