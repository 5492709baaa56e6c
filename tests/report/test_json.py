"""JSON and JSON lines, held to the written description of the format."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator, ValidationError

from report.samples import CLEAN, NOTHING, REPORTS, SAMPLE
from trainguard import check
from trainguard.findings import Report
from trainguard.report import jsonl
from trainguard.report.json import render
from trainguard.report.schema import schema

from written import WEIGHTS, healthy_adapter

SCRIPT = """\
model = get_peft_model(base, config)
for batch in loader:
    loss = model(**batch).loss
    optimizer.step()
    loss.backward()
    optimizer.zero_grad()
model.merge_and_unload()  # trainguard: ignore[TG806] shown on purpose
model.save_pretrained("out")
"""


@cache
def _open() -> Draft202012Validator:
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema())


@cache
def _closed() -> Draft202012Validator:
    """The schema with every object closed: what it does not describe is an error."""
    return Draft202012Validator(_without_more(copy.deepcopy(schema())))


def _without_more(part: Any) -> Any:
    if isinstance(part, dict):
        if "properties" in part:
            part["additionalProperties"] = False
        for value in part.values():
            _without_more(value)
    return part


def _content(report: Report) -> dict[str, Any]:
    content = json.loads(render(report), parse_constant=pytest.fail)
    _closed().validate(content)
    return content


@given(REPORTS)
def test_any_report_is_as_described_and_has_no_field_that_is_not(report: Report) -> None:
    _content(report)


@pytest.mark.parametrize("report", [SAMPLE, CLEAN, NOTHING], ids=["sample", "clean", "nothing"])
def test_the_samples_are_as_described(report: Report) -> None:
    assert _content(report)["summary"]["exit_code"] == report.exit_code


def test_a_real_report_is_as_described(tmp_path: Path) -> None:
    healthy_adapter(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "train.py").write_text(SCRIPT)
    content = _content(check(tmp_path))

    assert {"TG101", "TG810"} <= {finding["code"] for finding in content["findings"]}
    assert [one["code"] for one in content["suppressed"]] == ["TG806"]
    assert content["not_checked"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), 2),
        (("findings", 0, "severity"), "fatal"),
        (("findings", 0, "location", "line"), 0),
        (("findings", 0, "explained_by"), None),
        (("suppressed", 0, "suppressed_because"), 3),
        (("summary", "exit_code"), 7),
        (("not_checked", 0, "reason"), None),
    ],
)
def test_what_breaks_the_promise_is_no_valid_report(place: tuple[Any, ...], value: Any) -> None:
    content = part = _content(SAMPLE)
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value

    with pytest.raises(ValidationError):
        _open().validate(content)


def test_a_field_that_a_later_release_adds_is_valid() -> None:
    content = _content(SAMPLE)
    content["findings"][0]["new"] = content["new"] = 1

    _open().validate(content)


@given(REPORTS)
def test_json_lines_hold_what_the_json_holds(report: Report) -> None:
    text = jsonl.render(report)
    assert text.isascii()
    *entries, summary = [json.loads(line) for line in text.splitlines()]
    content = _content(report)

    for kind, name in (("finding", "findings"), ("suppressed", "suppressed"), ("known", "known")):
        listed = [{"kind": kind, **one} for one in content[name]]
        assert [one for one in entries if one["kind"] == kind] == listed
    assert [one["text"] for one in entries if one["kind"] == "note"] == content["notes"]
    assert sum(one["kind"] == "not_checked" for one in entries) == len(content["not_checked"])
    assert summary == {
        "kind": "summary",
        "version": content["version"],
        "checked": content["checked"],
        **content["summary"],
    }
