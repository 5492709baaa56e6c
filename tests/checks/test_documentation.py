"""The documentation of every check is its first test."""

from __future__ import annotations

import re

import pytest

from trainguard.facts.evidence import Evidence
from trainguard.facts.notation import Example, examples
from trainguard.findings import Finding
from trainguard.gather.source import evidence_from_text
from trainguard.registry import Check, all_checks

SECTIONS = ("Why is this bad?", "Example", "Instead", "Source")


def blocks() -> list[object]:
    return [
        pytest.param(check, example, id=f"{check.code}-{check.name}-{number}")
        for check in all_checks()
        for number, example in enumerate(examples(check.doc), start=1)
    ]


def evidence_of(example: Example) -> Evidence:
    return evidence_from_text(example.text) if example.is_code else example.evidence()


def anchors(finding: Finding) -> set[str]:
    """What identifies the line of a finding: its step or the key it points at."""
    place = finding.location
    if place.excerpt and place.line is not None:
        return {line.text for line in place.excerpt if line.marked}
    step = {f"step={place.step}", f"steps={place.step}-"} if place.step is not None else set()
    return step or ({place.key} if place.key else set())


@pytest.mark.parametrize(("check", "example"), blocks())
def test_an_example_gives_exactly_the_findings_it_marks(check: Check, example: Example) -> None:
    findings = [v for v in check.run(evidence_of(example)) if isinstance(v, Finding)]
    marked = [line.text for line in example.lines if check.code in line.marks]

    assert len(findings) == len(marked), [finding.message for finding in findings]
    for finding, line in zip(findings, marked, strict=True):
        assert any(anchor in line for anchor in anchors(finding)), (finding.location, line)


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.code)
def test_a_check_has_a_firing_and_a_quiet_example(check: Check) -> None:
    fires = [any(check.code in line.marks for line in e.lines) for e in examples(check.doc)]

    assert any(fires)
    assert not all(fires)


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.code)
def test_a_check_states_its_sections_in_order(check: Check) -> None:
    assert tuple(re.findall(r"^## (.+)$", check.doc, re.MULTILINE)) == SECTIONS


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.code)
def test_file_function_and_check_share_one_name(check: Check) -> None:
    assert check.judge.__module__.rpartition(".")[2] == check.judge.__name__


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.code)
def test_a_check_explains_only_checks_that_exist(check: Check) -> None:
    known = {one.code for one in all_checks()}

    assert set(check.explains) <= known - {check.code}


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.code)
def test_messages_name_a_fix_and_do_not_shout(check: Check) -> None:
    for example in examples(check.doc):
        for finding in check.run(evidence_of(example)):
            if isinstance(finding, Finding):
                assert finding.fix
                assert not finding.message.endswith(".")
                assert "!" not in finding.message + finding.fix
