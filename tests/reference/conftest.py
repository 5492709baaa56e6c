from pathlib import Path

import pytest

from trainguard.reference.model import pretrained

# Far from converged, but far enough to answer half of the questions once it is fine-tuned.
STEPS = 300


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the pre-trained base."""
    folder = tmp_path_factory.mktemp("bases")
    pretrained(folder, steps=STEPS)
    return folder


@pytest.fixture
def base(cache_dir: Path):
    """The pre-trained base and its tokenizer, fresh for each test."""
    return pretrained(cache_dir, steps=STEPS)
