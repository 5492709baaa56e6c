"""Workflow commands, read as the runner of GitHub Actions reads them."""

from __future__ import annotations

import re

from hypothesis import given

from report.samples import HOSTILE_NAME, NOTHING, REPORTS, SAMPLE, SOURCE, TEXTS
from trainguard.findings import Finding, Location, Report, Severity, Subject, relative_path
from trainguard.report import github

COMMAND = re.compile(r"::(?P<kind>error|warning|notice) (?P<properties>.*?)::(?P<data>.*)")
KINDS = ("error", "warning", "notice")


def _unescaped(text: str, escapes: dict[str, str]) -> str:
    for escape, character in escapes.items():
        text = text.replace(escape, character)
    return text.replace("%25", "%")


def _read(line: str) -> tuple[str, dict[str, str], str]:
    """Kind, properties and message of a line; the runner takes the first `::` for their end."""
    match = COMMAND.fullmatch(line)
    assert match
    breaks = {"%0D": "\r", "%0A": "\n"}
    pairs = [one.split("=", 1) for one in match["properties"].split(",")]
    properties = {
        name: _unescaped(value, {**breaks, "%3A": ":", "%2C": ","}) for name, value in pairs
    }
    return match["kind"], properties, _unescaped(match["data"], breaks)


def _commands(report: Report) -> list[tuple[str, dict[str, str], str]]:
    return [_read(line) for line in github.render(report).split("\n")[:-2]]


def _is_plain(text: str) -> bool:
    return text.isprintable()


@given(REPORTS)
def test_any_finding_is_one_command_and_the_last_line_is_none(report: Report) -> None:
    *lines, last = github.render(report).removesuffix("\n").split("\n")

    assert len(lines) == len(report.findings)
    kinds = [_read(line)[0] for line in lines]
    assert kinds == sorted(kinds, key=KINDS.index)
    if report.subjects:
        assert not last.strip().startswith("::")
        assert "##[" not in last


@given(TEXTS, TEXTS, TEXTS)
def test_what_was_escaped_is_read_back(message: str, fix: str, path: str) -> None:
    finding = Finding(message, fix=fix, code="TG1", name="x", location=Location(path=path or "a"))
    ((_, properties, told),) = _commands(Report(findings=(finding,)))

    known = relative_path(path or "a")
    if _is_plain(known.replace("\n", "").replace("\r", "")):
        assert properties["file"] == known
    if _is_plain(message) and _is_plain(fix):
        assert told == (f"{message}\nhelp: {fix}" if fix else message)


def test_a_hostile_name_starts_no_command() -> None:
    lines = github.render(SAMPLE).splitlines()
    files = [properties["file"] for _, properties, _ in _commands(SAMPLE)]

    assert not any(line.startswith("::error::") for line in lines)
    assert "%0D%0A%3A%3Aerror%3A%3Aowned" in github.render(SAMPLE)
    hostile = next(file for file in files if "evil" in file)
    head, tail = HOSTILE_NAME.replace("://", ":/").split("\x1b")
    assert hostile.startswith(head)
    assert "\r\n::error::owned ##[error] ]]> &amp; %0A, caf" in hostile
    assert tail.startswith("[31m")


def test_a_place_has_its_columns_where_it_is_one_line() -> None:
    place = Location(path="a.py", line=3, column=2, end_line=5, end_column=9)
    report = Report(findings=(Finding("x", code="TG801", name="n", location=place), SOURCE))
    several, single = (properties for _, properties, _ in _commands(report))

    assert {"line": "3", "endLine": "5"}.items() <= several.items()
    assert not {"col", "endColumn"} & set(several)
    expected = {"file": "evaluate.py", "line": "12", "endLine": "12", "col": "5", "endColumn": "31"}
    assert expected.items() <= single.items()


def test_the_gravest_come_first_and_causes_before_symptoms() -> None:
    titles = [properties["title"] for _, properties, _ in _commands(SAMPLE)]

    assert titles[0] == "TG501 hidden-nan-loss"
    assert titles[-2:] == ["ACME1 flat-reward", "TG109 frozen-on-load"]
    assert titles.index("TG120 unsafe-pickle") < titles.index("TG503 constant-loss")


def test_the_last_line_says_what_is_not_shown() -> None:
    many = [Finding("x", code="TG101", severity=Severity.WARNING)] * 12
    report = Report(findings=tuple(many), subjects=(Subject("a", "adapter"),))

    assert "GitHub shows 10 of 12 warnings as annotations." in github.render(report)
    assert "annotations" not in github.render(SAMPLE)
    assert github.render(SAMPLE).splitlines()[-1].startswith("Looked at 1 training run,")
    assert "Not checked: 3 checks without the evidence." in github.render(SAMPLE)


def test_nothing_checked_is_an_error() -> None:
    assert _read(github.render(NOTHING).strip())[0] == "error"
