from pathlib import Path

import pytest

from trainguard.reference.model import pretrained

from tiny_base import STEPS, shared_cache


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pre-trained base."""
    model, _ = pretrained(shared_cache(tmp_path_factory), steps=STEPS)
    return Path(model.name_or_path)


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory):
    """The pre-trained base and its tokenizer, fresh for each test."""
    return pretrained(shared_cache(tmp_path_factory), steps=STEPS)
