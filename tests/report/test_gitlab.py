"""GitLab's code quality: the fields of its widget."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given

from report.samples import NOTHING, REPORTS, SAMPLE
from trainguard.findings import Finding, Location, Report
from trainguard.report import gitlab

SEVERITIES = {"info", "minor", "major", "critical", "blocker"}


@given(REPORTS)
def test_any_finding_is_an_issue_of_its_own(report: Report) -> None:
    issues = json.loads(gitlab.render(report))

    assert len(issues) == len(report.findings)
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    for issue in issues:
        assert issue["description"]
        assert issue["check_name"]
        assert issue["severity"] in SEVERITIES
        assert issue["location"]["path"]
        assert issue["location"]["lines"]["begin"] >= 1


def test_the_path_is_relative_and_without_a_dot() -> None:
    here = Location(path=str(Path.cwd() / "a" / "b.py"), line=4, end_line=6)
    there = Location(path="./c.py")
    findings = (
        Finding("x", code="TG801", location=here),
        Finding("y", code="TG801", location=there),
    )
    places = [one["location"] for one in json.loads(gitlab.render(Report(findings=findings)))]

    assert places == [
        {"path": "a/b.py", "lines": {"begin": 4, "end": 6}},
        {"path": "c.py", "lines": {"begin": 1}},
    ]


def test_a_fingerprint_survives_a_moved_line_and_another_number() -> None:
    before, after = (
        Report(findings=(Finding(text, code="TG503", location=Location(path="log", line=line)),))
        for text, line in (("the loss is 1", 3), ("the loss is 2", 9))
    )
    marks = [json.loads(gitlab.render(one))[0]["fingerprint"] for one in (before, after)]

    assert marks[0] == marks[1]


def test_the_gravest_come_first() -> None:
    severities = [one["severity"] for one in json.loads(gitlab.render(SAMPLE))]

    assert severities == ["major"] * 7 + ["minor", "info"]
    assert json.loads(gitlab.render(NOTHING)) == []
