from __future__ import annotations

import pytest

from adapters.healthy import Saves


@pytest.fixture(scope="session")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Saves:
    """Adapters that are trained and saved once for all tests of a process."""
    return Saves(tmp_path_factory.mktemp("saves"))
