from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from adapters.healthy import Saves


@pytest.fixture(scope="session")
def saves(tmp_path_factory: pytest.TempPathFactory) -> Saves:
    """Adapters that are trained and saved once for all tests of a process."""
    from adapters.healthy import Saves  # the documentation is tested without torch too

    return Saves(tmp_path_factory.mktemp("saves"))
