"""Facts to report: run the selected checks over the evidence and explain what they find."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from trainguard.diagnosis import explain
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.suppression import Suppression, UnusedSuppression
from trainguard.findings import Finding, NotChecked, Report, Severity, Subject, Suppressed
from trainguard.registry import Check, UnknownCheckError, find, plugin_failures, select

Excused = Callable[[Finding], str | None]


def judge(
    evidences: Iterable[Evidence],
    checks: Sequence[Check] | None = None,
    *,
    fail_on: Severity | None = Severity.ERROR,
    excused: Excused = lambda finding: None,
    is_known: Callable[[Finding], bool] = lambda finding: False,
) -> Report:
    """Run the checks over every piece of evidence.

    A check that raises becomes a TG000 finding; it never raises here.

    Args:
        evidences: what the gatherers read, one per subject.
        checks: as `registry.select` returns them; all by default.
        fail_on: the mildest severity that gives exit status 1; None never does.
        excused: why the user's settings take a finding out, None if they do not.
        is_known: whether a finding stands in the user's baseline; asked once for each.
    """
    checks = select() if checks is None else checks
    tally = _Tally(excused, is_known)
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
        known=tuple(tally.known),
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
        known=tuple(one for report in reports for one in report.known),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


@dataclass
class _Tally:
    excused: Excused
    is_known: Callable[[Finding], bool]
    findings: list[Finding] = field(default_factory=list)
    ran: set[str] = field(default_factory=set)
    undecided: list[NotChecked] = field(default_factory=list)
    suppressed: list[Suppressed] = field(default_factory=list)
    known: list[Finding] = field(default_factory=list)
    used: set[Suppression] = field(default_factory=set)
    """Comments of the subject under judgement that have covered a finding."""
    subjects: list[Subject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, finding: Finding, suppressions: Iterable[Suppression]) -> None:
        """A finding counts unless a comment, a setting or the baseline covers it."""
        place = finding.location
        for one in suppressions:
            if one.covers(finding.code, finding.name, place.line):
                self.suppressed.append(Suppressed(finding, one.reason))
                self.used.add(one)
                return
        if (reason := self.excused(finding)) is not None:
            self.suppressed.append(Suppressed(finding, reason, in_source=False))
        elif self.is_known(finding):
            self.known.append(finding)
        else:
            self.findings.append(finding)


def _judge_one(
    evidence: Evidence, checks: Sequence[Check], tally: _Tally, unloaded: Sequence[Failure]
) -> None:
    failures: list[Failure] = [*evidence.facts.get(Failure, ()), *unloaded]
    undecided: set[str] = set()
    tally.used = set()
    for one in checks:
        if one.reports_on_us:
            continue
        if missing := one.missing(evidence):
            undecided |= _note_absence(one, missing, evidence, tally)
        else:
            outcome = _run(one, evidence, tally)
            failures += outcome.failures
            undecided |= set() if outcome.decided else {one.code}
    comments = evidence.facts.get(Suppression, ())
    unused = () if failures else tuple(_unused(comments, checks, tally.used, undecided))
    misnamed = tuple(one for one in unused if one.nearest is not None)
    is_open = UnusedSuppression in evidence.absent and unused != misnamed
    for one in checks:
        if one.reports_failures:
            _run(one, _with(evidence, Failure, tuple(failures)), tally)
        elif one.reports_suppressions and comments:
            if is_open:
                _note_absence(one, [UnusedSuppression], evidence, tally)
            if misnamed or not is_open:
                told = misnamed if is_open else unused
                _run(one, _with(evidence, UnusedSuppression, told), tally)


def _with(evidence: Evidence, kind: type, facts: tuple[object, ...]) -> Evidence:
    """The same subject, of which only facts of one kind are judged."""
    comments = evidence.facts.get(Suppression, ())
    return replace(evidence, facts={kind: facts, Suppression: comments})


@dataclass
class _Outcome:
    decided: bool
    failures: list[Failure] = field(default_factory=list)


def _run(one: Check, evidence: Evidence, tally: _Tally) -> _Outcome:
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
        failure = Failure(f"check {one.code} {one.name}", f"{type(error).__name__}: {error}")
        return _Outcome(decided=False, failures=[failure])
    if decided:
        tally.ran.add(one.code)
    return _Outcome(decided)


def _unused(
    comments: Iterable[Suppression],
    checks: Sequence[Check],
    used: Collection[Suppression],
    undecided: Collection[str],
) -> Iterator[UnusedSuppression]:
    """The comments that cover nothing, of those whose checks were all run as far as they apply."""
    looked_for = {one.code for one in checks if not one.reports_on_us} - set(undecided)
    for comment in comments:
        if comment in used:
            continue
        try:
            named = {find(name).code for name in comment.names}
        except UnknownCheckError as error:
            yield UnusedSuppression(
                names=comment.names, line=comment.written, nearest=error.nearest
            )
        else:
            if named <= looked_for:
                yield UnusedSuppression(names=comment.names, line=comment.written)


def _note_absence(
    one: Check, missing: Sequence[type], evidence: Evidence, tally: _Tally
) -> set[str]:
    """Only facts that such a subject should have are worth a word about this subject."""
    reasons = [evidence.absent[kind] for kind in missing if kind in evidence.absent]
    if not reasons:
        return set()
    tally.undecided.append(NotChecked(reasons[0], code=one.code, subject=evidence.subject))
    return {one.code}


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
