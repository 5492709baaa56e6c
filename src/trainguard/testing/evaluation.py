"""Assertions on evaluations: the score is the model's, and parsers and graders can say no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trainguard.engine import judge
from trainguard.facts.evaluation import EvaluationFacts
from trainguard.facts.evaluation_probes import GraderFacts, ParserFacts
from trainguard.facts.evidence import Evidence
from trainguard.registry import select
from trainguard.testing.reports import assert_decided, assert_no_findings

FAMILY = "TG6"

_Score = TypeVar("_Score")


def assert_honest_evaluation(
    llm: Any, evaluate: Callable[[], _Score], *, references: Any, **options: Any
) -> _Score:
    """Assert that a score is the model's own, and return it.

        score = assert_honest_evaluation(
            llm, lambda: benchmark(llm, questions), references=pairs, rows=16
        )

    Args:
        llm: any object that answers questions.
        evaluate: runs the benchmark and returns its score.
        references: pairs of a question and its expected answer, or a mapping.
        options: as for `trainguard.audit_evaluation`.

    Raises:
        AssertionError: the message is the diagnosis (TG6), or nothing could be decided.
    """
    __tracebackhide__ = True
    from trainguard.integrations.evaluation import audit_evaluation

    with audit_evaluation(llm, references=references, **options) as audit:
        score = evaluate()
    assert_no_findings(audit.report)
    return score


def assert_parser_tells_no_answer(parse: Callable[[str], Any]) -> None:
    """Assert that a parser finds no answer in texts that state none (TG607).

    Args:
        parse: from a generated text to an answer; None, NaN, an empty value or an exception says
            that there is none.

    Raises:
        AssertionError: states what the parser makes of them.
    """
    __tracebackhide__ = True
    from trainguard.gather.evaluation_probes import parser_facts

    facts = parser_facts(parse)
    report = judge([_evidence(ParserFacts, facts, facts.name)], select([FAMILY]))
    assert_decided(report, "parser-cannot-fail")


def assert_grader_discriminates(
    correct: Callable[[Any, Any], bool], expected: Sequence[Any]
) -> None:
    """Assert that a comparison accepts right answers and no others (TG608, TG609).

    Args:
        correct: from an answer and the expected one to whether it is right.
        expected: expected answers of several questions, not all alike.

    Raises:
        AssertionError: states what the comparison accepts or rejects.
    """
    __tracebackhide__ = True
    from trainguard.gather.evaluation_probes import grader_facts

    facts = grader_facts(expected, correct)
    report = judge([_evidence(GraderFacts, facts, facts.name)], select([FAMILY]))
    assert_decided(report, "grader-accepts-junk", "grader-rejects-references")


def _evidence(kind: type, facts: Any, name: str) -> Evidence:
    return Evidence(
        subject=name, kind="evaluation", facts={EvaluationFacts: EvaluationFacts(), kind: facts}
    )
