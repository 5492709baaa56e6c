"""The engine runs what the evidence allows and says what it could not run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from trainguard.engine import judge
from trainguard.facts.evidence import Evidence
from trainguard.facts.intent import Intent
from trainguard.facts.steps import StepFacts
from trainguard.findings import Finding, NotChecked, Precision, Report, Severity
from trainguard.registry import Check, UnknownCheckError, all_checks, check, find, select


@dataclass(frozen=True)
class Apple:
    WANTED = "an apple"
    rotten: bool = False


def one(judge_it: object, code: str = "TG990", **options: object) -> Check:
    defaults = {"severity": Severity.ERROR, "precision": Precision.EXACT, "explains": ()}
    return Check(code, judge=judge_it, **{**defaults, **options})  # type: ignore[arg-type]


def rotten_apple(apple: Apple) -> Iterator[Finding]:
    if apple.rotten:
        yield Finding("the apple is rotten", fix="throw it away", evidence={"worms": 2})


def evidence(**facts: object) -> Evidence:
    return Evidence(subject="basket", kind="fruit", facts={type(v): v for v in facts.values()})


def test_a_finding_is_signed_by_its_check_and_placed_at_its_subject() -> None:
    report = judge([evidence(apple=Apple(rotten=True))], [one(rotten_apple)])

    (found,) = report.findings
    assert (found.code, found.name) == ("TG990", "rotten-apple")
    assert (found.subject, found.location.path) == ("basket", "basket")
    assert found.precision is Precision.EXACT
    assert report.exit_code == 1
    assert report.checked == ("TG990",)


def test_a_check_without_its_facts_is_not_checked_and_says_what_it_needs() -> None:
    report = judge([evidence(intent=Intent())], [one(rotten_apple)])

    assert report.checked == ()
    assert [e.to_dict() for e in report.not_checked] == [
        {"code": "TG990", "reason": "needs an apple; none was given"}
    ]


def test_facts_that_a_subject_should_have_are_missed_by_name() -> None:
    basket = Evidence(subject="basket", kind="fruit", facts={}, absent={Apple: "eaten"})
    report = judge([basket, evidence(apple=Apple())], [one(rotten_apple)])

    assert [e.to_dict() for e in report.not_checked] == [
        {"code": "TG990", "reason": "eaten", "subject": "basket"}
    ]
    assert report.checked == ("TG990",)


def test_a_check_that_raises_keeps_what_it_said_and_becomes_a_finding() -> None:
    def breaks(apple: Apple) -> Iterator[Finding]:
        yield Finding("said before")
        raise ZeroDivisionError("planted")

    report = judge([evidence(apple=Apple())], [one(breaks), find("TG000")])

    assert {f.code for f in report.findings} == {"TG990", "TG000"}
    assert "TG990" not in report.checked
    assert any("ZeroDivisionError: planted" in f.message for f in report.findings)


def test_an_undecided_check_is_not_counted_as_checked() -> None:
    def undecided(apple: Apple) -> Iterator[NotChecked]:
        yield NotChecked("too dark to see")

    report = judge([evidence(apple=Apple())], [one(undecided)])

    assert report.checked == ()
    assert report.not_checked[0].reason == "too dark to see"


def test_an_optional_fact_may_be_missing_and_many_come_as_a_tuple() -> None:
    seen = []

    def looks(apple: Apple | None, steps: Sequence[StepFacts]) -> Iterator[Finding]:
        seen.append((apple, steps))
        yield from ()

    steps = (StepFacts(step=1),)
    judge([Evidence(subject="x", kind="x", facts={StepFacts: steps})], [one(looks)])

    assert seen == [(None, steps)]


def test_a_finding_may_be_milder_than_its_check_but_not_graver() -> None:
    def two(apple: Apple) -> Iterator[Finding]:
        yield Finding("mild", severity=Severity.INFO)
        yield Finding("grave", severity=Severity.ERROR)

    warning = one(two, severity=Severity.WARNING)
    severities = {f.message: f.severity for f in judge([evidence(a=Apple())], [warning]).findings}

    assert severities == {"mild": Severity.INFO, "grave": Severity.WARNING}


@pytest.mark.parametrize(
    ("severity", "fail_on", "status"),
    [
        (Severity.ERROR, Severity.ERROR, 1),
        (Severity.WARNING, Severity.ERROR, 0),
        (Severity.WARNING, Severity.WARNING, 1),
        (Severity.INFO, Severity.WARNING, 0),
        (Severity.ERROR, None, 0),
    ],
)
def test_the_exit_code_follows_the_gravest_finding(
    severity: Severity, fail_on: Severity | None, status: int
) -> None:
    report = judge(
        [evidence(a=Apple(rotten=True))], [one(rotten_apple, severity=severity)], fail_on=fail_on
    )

    assert report.exit_code == status


def test_nothing_checked_is_not_success() -> None:
    assert judge([]).exit_code == 3
    assert judge([]).checked == ()


def test_the_json_is_strict_and_has_the_promised_fields() -> None:
    def nan(apple: Apple) -> Iterator[Finding]:
        yield Finding("a NaN", evidence={"loss": float("nan"), "rates": (1.0, float("inf"))})

    def refuse(token: str) -> None:
        raise ValueError(token)

    text = judge([evidence(a=Apple())], [one(nan)]).to_json()
    parsed = json.loads(text, parse_constant=refuse)

    assert parsed["version"] == 1
    promised = {"version", "findings", "checked", "not_checked", "suppressed", "known"}
    promised |= {"notes", "summary"}
    assert set(parsed) == promised
    assert parsed["findings"][0]["evidence"] == {"loss": "nan", "rates": [1.0, "inf"]}
    assert {"code", "name", "severity", "precision", "message", "fix", "location"} <= set(
        parsed["findings"][0]
    )


def test_checks_are_selected_by_prefix_and_name() -> None:
    chosen = select(["TG40", "frozen-adapter"], ["zero-gradients"])

    codes = {c.code for c in all_checks() if c.code.startswith("TG40")} - {"TG402"}
    assert {"TG401", "TG403"} <= codes
    assert {c.code for c in chosen} == {"TG000", "TG201"} | codes


def test_an_unknown_word_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownCheckError, match="did you mean frozen-adapter"):
        select(["frozen-adaptor"])
    with pytest.raises(UnknownCheckError):
        find("TG999")


def test_a_code_can_be_taken_only_once() -> None:
    before = set(all_checks())
    with pytest.raises(ValueError, match="already registered"):

        @check("TG501", severity=Severity.ERROR, precision=Precision.EXACT)
        def another(apple: Apple) -> Iterator[Finding]:
            yield from ()

    with pytest.raises(ValueError, match="medium precision"):
        check("TG991", severity=Severity.ERROR, precision=Precision.MEDIUM)
    assert set(all_checks()) == before


def test_a_report_without_findings_has_no_causes() -> None:
    assert Report().causes == ()
