"""Findings that a project has accepted for now: a file that names them, so that new ones stand out.

The file is JSON, sorted, a finding a line: what changes in it can be reviewed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from trainguard.findings import Finding, Report, relative_path

NAME = "trainguard-baseline.json"
"""The file that is read, if it is there and no other is named."""
VERSION = 1
LARGEST = 64 * 2**20


class BaselineError(ValueError):
    """A baseline that cannot be read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted finding."""

    fingerprint: str
    code: str
    path: str
    """Relative to the baseline's folder where it lies below it."""
    message: str
    """As it was when it was accepted; for people."""

    def to_dict(self) -> dict[str, str]:
        """The entry as JSON values."""
        return {
            "fingerprint": self.fingerprint,
            "code": self.code,
            "path": self.path,
            "message": self.message,
        }


@dataclass
class Baseline:
    """The accepted findings of a file, and which of them one look has seen again."""

    file: Path
    entries: tuple[Entry, ...] = ()
    _waiting: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = Counter(entry.fingerprint for entry in self.entries)

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""
        return self.file.parent

    def holds(self, finding: Finding) -> bool:
        """Whether the finding is accepted; each entry stands for one."""
        print_ = finding.fingerprint_from(self.root)
        if self._waiting[print_] <= 0:
            return False
        self._waiting[print_] -= 1
        return True

    def stale(self, report: Report, paths: Iterable[str]) -> tuple[Entry, ...]:
        """The entries that are no longer found, of those that were looked for.

        Args:
            report: of the look that has asked `holds` for each of its findings.
            paths: the files and folders that were looked at, as the user named them.
        """
        looked_for = {*report.checked, *(one.code for one in report.not_checked)}
        looked_for |= {one.code for one in (*report.findings, *report.known)}
        undecided = {
            (one.code, relative_path(one.subject, self.root))
            for one in report.not_checked
            if one.subject
        }
        places = [relative_path(path, self.root) for path in paths]
        waiting = Counter(self._waiting)
        stale = []
        for entry in self.entries:
            is_gone = entry.code in looked_for and (entry.code, entry.path) not in undecided
            is_gone |= not (self.root / entry.path).exists()
            if waiting[entry.fingerprint] > 0 and is_gone and _lies_in(entry.path, places):
                waiting[entry.fingerprint] -= 1
                stale.append(entry)
        return tuple(stale)

    def without(self, gone: Iterable[Entry]) -> Baseline:
        """The baseline without some of its entries, each of which stands for one."""
        left = Counter(self.entries)
        left.subtract(gone)
        return Baseline(self.file, tuple(left.elements()))

    def accepting(self, findings: Iterable[Finding]) -> Baseline:
        """The baseline with more findings."""
        new = (_entry(finding, self.root) for finding in findings)
        return Baseline(self.file, (*self.entries, *new))

    def write(self) -> None:
        """Replace the file, as a whole or not at all."""
        entries = sorted(self.entries, key=lambda one: (one.path, one.code, one.fingerprint))
        rows = ",\n".join(f"  {json.dumps(entry.to_dict())}" for entry in entries)
        text = f'{{"version": {VERSION}, "findings": [\n{rows}\n]}}\n'
        with NamedTemporaryFile("w", encoding="utf-8", dir=self.root, delete=False) as file:
            file.write(text)
        Path(file.name).replace(self.file)


def read(file: Path) -> Baseline:
    """The baseline of a file; an empty one if there is none yet. Raises `BaselineError`."""
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        return Baseline(file)
    except OSError as error:
        raise BaselineError(f"{file} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise BaselineError(f"{file} has more than {LARGEST} bytes")
    try:
        return Baseline(file, tuple(_entries(json.loads(data))))
    except (ValueError, RecursionError) as error:
        raise BaselineError(f"{file} is no baseline: {error}") from None


def _entries(whole: Any) -> Iterable[Entry]:
    if not isinstance(whole, dict) or whole.get("version") != VERSION:
        raise ValueError(f"it does not say version {VERSION}")
    rows = whole.get("findings")
    if not isinstance(rows, list):
        raise ValueError("findings is no list")
    names = ("fingerprint", "code", "path", "message")
    for row in rows:
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in names):
            raise ValueError(f"an entry needs {', '.join(names)}")
        yield Entry(*(row[name] for name in names))


def _entry(finding: Finding, root: Path) -> Entry:
    return Entry(
        fingerprint=finding.fingerprint_from(root),
        code=finding.code,
        path=relative_path(finding.location.path or finding.subject, root),
        message=finding.message,
    )


def _lies_in(path: str, places: Iterable[str]) -> bool:
    return any(place in (".", path) or path.startswith(f"{place}/") for place in places)
