"""Causes explain symptoms of their own run that do not come before them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainguard.diagnosis import explain
from trainguard.findings import Finding, Location

EXPLAINS = {
    "TG201": ("TG202", "TG402"),
    "TG202": ("TG402",),
    "TG401": ("TG502", "TG106"),
    "TG502": ("TG401", "TG106"),
}


def finding(code: str, step: int | None = None, scope: str = "run") -> Finding:
    return Finding(code, code=code, scope=scope, location=Location(step=step))


def explained(*findings: Finding) -> dict[str, tuple[str, ...]]:
    return {found.code: found.explained_by for found in explain(findings, EXPLAINS)}


def test_a_symptom_names_its_direct_and_indirect_causes() -> None:
    result = explained(finding("TG402", 1), finding("TG202"), finding("TG201"))

    assert result == {"TG201": (), "TG202": ("TG201",), "TG402": ("TG201", "TG202")}


def test_a_cause_of_another_run_explains_nothing() -> None:
    assert explained(finding("TG201"), finding("TG402", scope="other"))["TG402"] == ()


def test_of_two_that_explain_each_other_the_earlier_step_is_the_cause() -> None:
    assert explained(finding("TG401", 3), finding("TG502", 4)) == {
        "TG401": (),
        "TG502": ("TG401",),
    }


def test_within_one_step_the_loss_comes_before_its_gradient() -> None:
    assert explained(finding("TG401", 3), finding("TG502", 3)) == {
        "TG502": (),
        "TG401": ("TG502",),
    }


def test_what_was_saved_comes_after_every_step() -> None:
    assert explained(finding("TG106"), finding("TG401", 900))["TG106"] == ("TG401",)


codes = st.sampled_from(["TG106", "TG201", "TG202", "TG401", "TG402", "TG502"])
found = st.builds(finding, codes, st.none() | st.integers(1, 5), st.sampled_from(["a", "b"]))


@given(st.lists(found, max_size=12))
def test_a_diagnosis_keeps_every_finding_and_leaves_a_cause(findings: list[Finding]) -> None:
    result = explain(findings, EXPLAINS)

    assert sorted(f.message for f in result) == sorted(f.message for f in findings)
    for scope in {f.scope for f in findings}:
        assert any(not f.explained_by for f in result if f.scope == scope)


@given(st.lists(found, max_size=12), st.randoms())
def test_a_diagnosis_does_not_depend_on_the_order_of_the_findings(
    findings: list[Finding], random: object
) -> None:
    shuffled = findings.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    def key(f: Finding) -> str:
        return repr((f.code, f.location.step, f.scope, f.explained_by))

    assert sorted(map(key, explain(findings, EXPLAINS))) == sorted(
        map(key, explain(shuffled, EXPLAINS))
    )
