"""The documentation of every check is its first test: `# TG990` marks the line that fires."""

import pytest
from trainguard_house_rules import checks

from trainguard.facts.notation import examples
from trainguard.findings import Finding
from trainguard.gather.source import evidence_from_text
from trainguard.registry import all_checks

OWN = [one for one in all_checks() if one.judge.__module__.startswith(checks.__name__)]
EXAMPLES = [(one, example) for one in OWN for example in examples(one.doc)]


def test_the_checks_are_found():
    assert OWN


@pytest.mark.parametrize(("check", "example"), EXAMPLES)
def test_an_example_gives_exactly_the_findings_it_marks(check, example):
    evidence = evidence_from_text(example.text) if example.is_code else example.evidence()
    found = [verdict for verdict in check.run(evidence) if isinstance(verdict, Finding)]

    assert len(found) == sum(check.code in line.marks for line in example.lines)


@pytest.mark.parametrize("check", OWN)
def test_a_check_has_a_firing_and_a_quiet_example_and_all_its_words(check):
    fires = [any(line.marks for line in example.lines) for example in examples(check.doc)]

    assert any(fires)
    assert not all(fires)
    assert "(write this: " not in check.doc
