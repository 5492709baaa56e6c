"""Properties of the TG6xx checks that no example can show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainguard.engine import judge
from trainguard.facts.evaluation import ControlFacts, EvaluationFacts, MethodFacts, WitnessFacts
from trainguard.facts.evidence import Evidence
from trainguard.findings import Report, Severity
from trainguard.registry import select

counts = st.integers(0, 32)
controls = st.none() | st.builds(
    ControlFacts,
    rows=st.just(32),
    best_constant=counts,
    muted_right=counts,
    muted_distinct=st.integers(1, 32),
    repeated=st.sampled_from([0, 0, 5]),
)
witnesses = st.builds(
    WitnessFacts,
    during=st.sampled_from(["body", "control"]),
    questions=st.integers(0, 100),
    positions=st.none() | st.integers(0, 200),
)
methods = st.builds(
    MethodFacts,
    key=st.just("LLM.answer"),
    kind=st.sampled_from(["instance", "class", "dynamic", "code", "access"]),
    by=st.just("lookup"),
    mock=st.booleans(),
    reaches_original=st.booleans(),
    right_without=st.none() | counts,
)
evaluations = st.builds(
    EvaluationFacts,
    methods=st.lists(methods, max_size=1).map(tuple),
    witnesses=st.lists(witnesses, max_size=2).map(tuple),
    control=controls,
)


def report(facts: EvaluationFacts) -> Report:
    evidence = Evidence(subject="LLM.answer", kind="evaluation", facts={EvaluationFacts: facts})
    return judge([evidence], select(["TG6"]))


@given(evaluations)
def test_a_proven_fault_has_exactly_one_cause(facts: EvaluationFacts) -> None:
    proven = facts.short is not None or (facts.control is not None and facts.control.proves)
    causes = report(facts).causes

    assert len(causes) <= 1
    if proven:
        assert len(causes) == 1


@given(evaluations)
def test_without_a_proof_nothing_is_an_error(facts: EvaluationFacts) -> None:
    proven = facts.short is not None or (facts.control is not None and facts.control.proves)
    errors = [one for one in report(facts).findings if one.severity is Severity.ERROR]

    assert bool(errors) <= proven


@given(evaluations)
def test_a_method_that_reaches_the_original_needs_a_proof(facts: EvaluationFacts) -> None:
    wrapped = all(method.reaches_original for method in facts.methods)
    proven = facts.short is not None or (facts.control is not None and facts.control.proves)
    found = {one.code for one in report(facts).findings}

    assert not ("TG601" in found and wrapped and not proven)


@given(controls.filter(lambda control: control is not None))
def test_a_control_that_cannot_decide_is_named_as_such(control: ControlFacts) -> None:
    result = report(EvaluationFacts(control=control))
    undecided = {entry.code for entry in result.not_checked}

    assert ("TG603" in undecided) == bool(control.undecided)
    assert ("TG603" in result.checked) != bool(control.undecided)


@pytest.mark.parametrize(("positions", "missing"), [(None, 0), (0, 100), (99, 1), (100, 0)])
def test_each_answer_needs_a_position(positions: int | None, missing: int) -> None:
    witness = WitnessFacts(during="body", questions=100, positions=positions)

    assert witness.missing == missing


def test_a_bypassed_head_proves_nothing() -> None:
    control = ControlFacts(
        rows=32,
        best_constant=1,
        muted_right=32,
        muted_distinct=32,
        muted_positions=700,
        head_calls=0,
    )

    assert not control.proves
    assert "bypassed" in control.undecided


def test_an_accusation_is_exact_only_where_the_original_was_tried() -> None:
    control = ControlFacts(rows=32, best_constant=1, muted_right=32, muted_distinct=32)
    tried = MethodFacts(key="LLM.answer", kind="instance", by="lookup", right_without=0)
    untried = MethodFacts(key="LLM.answer", kind="class", by="lookup")

    precisions = [
        str(report(EvaluationFacts(methods=(method,), control=control)).causes[0].precision)
        for method in (tried, untried)
    ]

    assert precisions == ["exact", "high"]
