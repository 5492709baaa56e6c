"""The report as JUnit XML: what ran, what it found, and what could not be checked and why.

The first suite, `trainguard`, speaks of everything that was looked at: a test case for each check
that decided and found nothing anywhere, and a skipped one for each that never had its evidence.
Then each subject has a suite with what was found there, what could not be decided there, and
whether it could be read at all. A report knows which checks decided, not on which subject each of
them did, so that a subject's suite does not claim more passed checks than this one.

A test case fails where the exit status says so: a finding milder than `fail_on` is told in the
output of a test case that passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from trainguard.findings import Finding, Report
from trainguard.report._order import gravest_first, known_checks
from trainguard.report._words import NOTHING, address, by_code, clean, sentence

_WHOLE = "trainguard"
_COULD_NOT_LOOK = "TG000"
"""Its check runs on every subject."""


@dataclass
class _Case:
    """What one check says about one subject."""

    findings: list[Finding] = field(default_factory=list)
    suppressed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


_Suite = dict[str, _Case]


def render(report: Report) -> str:
    """A document that Jenkins, GitLab and the JUnit schema of Surefire accept."""
    root = Element("testsuites", name=_WHOLE)
    names = _names(report)
    for subject, cases in _suites(report).items():
        root.append(_suite(report, subject, cases, names))
    if not report.subjects:
        root[0].append(_nothing())
    for suite in root:
        _count(suite)
    for what in ("tests", "failures", "errors"):
        root.set(what, str(sum(int(suite.get(what, 0)) for suite in root)))
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _names(report: Report) -> dict[str, str]:
    """The checks' names; of those that are not registered, as the findings state them."""
    findings = [*report.findings, *(entry.finding for entry in report.set_aside)]
    return {finding.code: finding.name for finding in findings} | {
        code: check.name for code, check in known_checks().items()
    }


def _suites(report: Report) -> dict[str, _Suite]:
    """The cases by subject and code; "" is for what holds of everything."""
    suites: dict[str, _Suite] = {"": {}}
    suites |= {subject.name: _readable(report) for subject in report.subjects}

    def case(subject: str, code: str) -> _Case:
        return suites.setdefault(subject, {}).setdefault(code, _Case())

    for finding in gravest_first(report.findings):
        case(finding.subject, finding.code).findings.append(finding)
    for entry in report.set_aside:
        where = "suppressed in the source" if entry.in_source else "set aside"
        text = f"{where}: {entry.reason or 'no reason given'}"
        case(entry.finding.subject, entry.finding.code).suppressed.append(clean(text))
    for undecided in report.not_checked:
        case(undecided.subject, undecided.code).skipped.append(clean(undecided.reason))
    for code in _passed(report):
        case("", code)
    return suites


def _readable(report: Report) -> _Suite:
    return {_COULD_NOT_LOOK: _Case()} if _COULD_NOT_LOOK in report.checked else {}


def _passed(report: Report) -> Iterator[str]:
    found = by_code([*report.findings, *(entry.finding for entry in report.set_aside)])
    for code in report.checked:
        if code not in found and code != _COULD_NOT_LOOK:
            yield code


def _suite(report: Report, subject: str, cases: _Suite, names: dict[str, str]) -> Element:
    title = clean(subject) or _WHOLE
    suite = Element("testsuite", name=title)
    for code, case in sorted(cases.items()):
        name = clean(f"{code} {names.get(code, '')}").strip() or "unnamed"
        element = SubElement(suite, "testcase", name=name, classname=title)
        _fill(element, case, report)
    if not subject and report.notes:
        SubElement(suite, "system-out").text = "\n".join(map(clean, report.notes))
    return suite


def _fill(element: Element, case: _Case, report: Report) -> None:
    failing = [one for one in case.findings if _fails(one, report)]
    if failing:
        more = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
        message = f"{sentence(failing[0])}{more}"
        failure = SubElement(element, "failure", type=failing[0].severity.value, message=message)
        failure.text = _text(failing)
    elif not case.findings and (reasons := case.skipped or case.suppressed):
        SubElement(element, "skipped", message="; ".join(dict.fromkeys(reasons)))
    told = [one for one in case.findings if one not in failing]
    output = [_text(told)] if told else []
    output += [*case.skipped, *case.suppressed] if case.findings else []
    if output:
        SubElement(element, "system-out").text = "\n".join(output)


def _fails(finding: Finding, report: Report) -> bool:
    return report.fail_on is not None and finding.severity.rank <= report.fail_on.rank


def _text(findings: Iterable[Finding]) -> str:
    return "\n\n".join("\n".join(_lines(finding)) for finding in findings)


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity.value}: {sentence(finding)}"
    yield f"  --> {address(finding.location) or clean(finding.subject)}"
    if finding.fix:
        yield f"help: {clean(finding.fix)}"
    if finding.explained_by:
        yield f"explained by {clean(', '.join(finding.explained_by))}"


def _nothing() -> Element:
    case = Element("testcase", name="something was recognised", classname=_WHOLE)
    SubElement(case, "error", type="nothing checked", message=NOTHING)
    return case


def _count(suite: Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    for plurals, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(plurals, str(sum(case.find(tag) is not None for case in cases)))
