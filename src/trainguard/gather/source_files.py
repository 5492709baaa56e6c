"""Which files are training code, by name alone: their reader is loaded only for these."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".py", ".ipynb")
#: Tests replace and break things on purpose.
_TEST_FOLDERS = frozenset({"test", "tests", "testing"})


def may_be_source(path: Path, top: Path) -> bool:
    """Whether a file under a folder is Python or a notebook, and no test."""
    name = path.name
    if path.suffix not in SUFFIXES or name == "conftest.py" or not path.is_file():
        return False
    is_test = name.startswith("test_") or path.stem.endswith("_test")
    return not is_test and not _TEST_FOLDERS & set(path.relative_to(top).parts[:-1])
