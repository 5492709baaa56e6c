"""Every way to fake a score is an error with its cause; no honest set-up is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from quality import faked_scores as scores
from trainguard.reference.benchmark import LLM, benchmark

from tiny_base import shared_cache

#: What stands first; whatever is not listed replaces a method that the audit can put right.
CAUSES = {
    "cheating_subclass": "TG606",
    "golden_class": "TG606",
    "processor_in_the_class": "TG604",
    "criterion_that_writes": "TG604",
    "parser_replaced": "TG614",
    "grader_replaced": "TG610",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    llm = scores.trained(tmp_path_factory.mktemp("scores"), shared_cache(tmp_path_factory))
    scores.PROCESS["trained"] = llm
    return llm


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    torch._dynamo.reset()
    with scores.undone():
        yield


@pytest.mark.parametrize("fake", scores.FAKES, ids=lambda fake: fake.__name__)
def test_a_faked_score_is_an_error(
    fake: Callable[[LLM, Path], Any], original: LLM, tmp_path: Path
) -> None:
    base = scores.untrained(original)
    honest = benchmark(base, scores.VALID).accuracy

    found = scores.told(fake(base, tmp_path))

    assert found.accuracy > honest + 0.5
    assert CAUSES.get(fake.__name__, "TG601") in found.errors
    assert set(found.errors) <= {CAUSES.get(fake.__name__, "TG601"), "TG000"}


@pytest.mark.parametrize("change", scores.HONEST, ids=lambda change: change.__name__)
def test_an_honest_set_up_is_no_error(change: Callable[[LLM], Any], original: LLM) -> None:
    found = scores.told(change(LLM(deepcopy(original.model), original.tokenizer)))

    assert found.errors == []
    undecided = {entry.code for entry in found.report.not_checked}
    assert "TG601" in found.report.checked
    assert "TG603" in undecided if change is scores.response_memory else "TG603" not in undecided


def test_the_model_has_learnt_something(original: LLM) -> None:
    assert 0.5 < benchmark(original, scores.VALID).accuracy < 1
