"""The public names, resolved on first use."""

from __future__ import annotations

import sys

import pytest

import trainguard


def test_every_public_name_is_there_and_an_unknown_one_is_not() -> None:
    for name in trainguard.__all__:
        assert getattr(trainguard, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'atach'"):
        trainguard.atach  # noqa: B018


def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "trainguard.integrations.hf", raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(ImportError, match=r"needs transformers: pip install 'trainguard\[train\]'"):
        trainguard.TrainGuardCallback  # noqa: B018
