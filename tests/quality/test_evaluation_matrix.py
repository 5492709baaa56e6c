"""Fakes around the methods are named by their cause; honest ways of asking are no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from quality.evaluation.fakes import FAKES
from quality.evaluation.honest import HONEST
from quality.evaluation.ways import asked_honestly, faked
from quality.faked_scores import trained
from trainguard.reference.benchmark import LLM

from tiny_base import shared_cache


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return trained(tmp_path_factory.mktemp("evaluation"), shared_cache(tmp_path_factory))


@pytest.mark.parametrize("name", sorted(FAKES))
def test_a_fake_is_named_by_its_cause(name: str, original: LLM, tmp_path: Path) -> None:
    fake = FAKES[name]
    found = faked(original, fake, tmp_path)

    assert found.accuracy > 0.85
    assert found.errors[:1] == [fake.cause] * bool(fake.cause), fake.missed
    if fake.culprit:
        assert found.report.causes[0].location.key == fake.culprit
        assert fake.culprit in found.report.causes[0].message


@pytest.mark.parametrize("name", sorted(HONEST))
def test_an_honest_set_up_is_no_error(name: str, original: LLM) -> None:
    found = asked_honestly(original, HONEST[name])

    assert 0.5 < found.accuracy < 0.97
    assert found.errors == []
    assert "TG603" in found.report.checked
