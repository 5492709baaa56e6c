"""Items of files: one per subject and check, with ids that every worker collects alike."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from trainguard.config import Settings
from trainguard.facts.intent import Intent
from trainguard.findings import Finding, Location, Report
from trainguard.integrations.files import Wanted, gather
from trainguard.pytest_plugin import PREFIX
from trainguard.report import text
from trainguard.testing._settings import session_settings
from trainguard.testing._summary import printable, properties_of
from trainguard.testing._verdicts import Judged, Verdict, judged

if TYPE_CHECKING:
    from trainguard.facts.evidence import Evidence

#: The check that says what could not be looked at; where it is the only one, nothing was asked.
_FAILURES = "TG000"


def file_items(
    session: pytest.Session, paths: Mapping[Path, bool], selected: Sequence[str]
) -> list[pytest.Item]:
    """The items of everything recognised at or under some paths, in a fixed order.

    Args:
        session: the parent of the collectors.
        paths: files or folders, and whether this call of pytest names them.
        selected: ids of items or of subjects to keep to; all if empty.

    A path that holds nothing and an id that is none of an item become items that fail: a worker of
    pytest-xdist has no other way to say so.
    """
    config = session.config
    settings = session_settings(config)
    intent = Intent(config.getoption("trainguard_purpose"))
    evidences, empty = _gathered(paths, Wanted(intent, excludes=settings.excludes))
    found = judged(evidences, settings)
    subjects = (_subject(session, one, found, settings) for one in found.verdicts)
    items: list[pytest.Item] = [item for one in subjects if one for item in one.collect()]
    items += [_empty(session, *path) for path in (empty if items else paths).items()]
    kept = _kept(session, items, selected)
    # Thereby they are counted as collected.
    report = pytest.CollectReport(PREFIX, "passed", longrepr=None, result=[*kept])
    config.hook.pytest_collectreport(report=report)
    return kept


def _gathered(
    paths: Mapping[Path, bool], wanted: Wanted
) -> tuple[Iterator[Evidence], dict[Path, bool]]:
    """Evidence as it is read, and the paths that turn out to hold nothing."""
    empty: dict[Path, bool] = {}

    def read() -> Iterator[Evidence]:
        seen: set[tuple[str, str]] = set()
        for path, named in paths.items():
            count = 0
            for evidence in gather(_near(path), wanted) if path.exists() else ():
                count += 1
                if (key := (evidence.subject, evidence.kind)) not in seen:
                    seen.add(key)
                    yield evidence
            if not count:
                empty[path] = named

    return read(), empty


def _near(path: Path) -> Path:
    """The path as seen from the working directory if it lies below: messages are shorter."""
    with contextlib.suppress(ValueError):
        return path.absolute().relative_to(Path.cwd())
    return path


def _kept(
    session: pytest.Session, items: list[pytest.Item], selected: Sequence[str]
) -> list[pytest.Item]:
    if not selected:
        return items
    kept = [item for item in items if any(_is_under(item.nodeid, one) for one in selected)]
    missing = [one for one in selected if not any(_is_under(item.nodeid, one) for item in kept)]
    return [*kept, *(_failing(session, one, f"no item is called {one}") for one in missing)]


def _is_under(nodeid: str, wanted: str) -> bool:
    return nodeid == wanted or nodeid.startswith(f"{wanted}::")


def _shown(config: pytest.Config, path: str | Path) -> str:
    """A path as ids show it: relative to pytest's root if it lies below, and printable."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as named
    with contextlib.suppress(ValueError):
        place = place.relative_to(config.rootpath)
    return printable(place.as_posix())


class _Subject(pytest.Collector):
    """An adapter, a checkpoint, a model, a run, a log, a data set or a source file."""

    verdicts: Sequence[Verdict]
    found: Judged
    settings: Settings

    def collect(self) -> list[pytest.Item]:
        """An item for every check that is about such a subject, by code."""
        return [CheckItem.of(self, verdict) for verdict in self.verdicts]


def _subject(
    session: pytest.Session, subject: str, found: Judged, settings: Settings
) -> _Subject | None:
    """The collector of a subject; None if no check is about it and nothing failed."""
    verdicts = found.verdicts[subject]
    if not any(one.findings or code != _FAILURES for code, one in verdicts.items()):
        return None
    name = _shown(session.config, subject)
    node: _Subject = _Subject.from_parent(session, name=name, nodeid=f"{PREFIX}{name}")
    node.verdicts = [verdicts[code] for code in sorted(verdicts)]
    node.found, node.settings = found, settings
    node.path = Path(os.path.abspath(subject))  # noqa: PTH100 - links stay as named
    return node


class FindingsError(Exception):
    """An item fails; the text says why."""


class CheckItem(pytest.Item):
    """What one check says of one subject."""

    subject: _Subject
    verdict: Verdict

    @classmethod
    def of(cls, subject: _Subject, verdict: Verdict) -> CheckItem:
        """The item; skipped if the check has not the evidence that it needs."""
        name = f"{verdict.check.code}[{verdict.check.name}]"
        node: CheckItem = cls.from_parent(subject, name=name, nodeid=f"{subject.nodeid}::{name}")
        node.subject, node.verdict = subject, verdict
        if verdict.undecided is not None and not verdict.findings:
            node.add_marker(pytest.mark.skip(reason=printable(verdict.undecided)))
        for finding in verdict.findings:
            node.user_properties += properties_of(finding)
        return node

    def runtest(self) -> None:
        """Raise FindingsError if a finding is grave enough."""
        fail_on = self.subject.settings.fail_on
        findings = self.verdict.findings
        if fail_on and any(one.severity.rank <= fail_on.rank for one in findings):
            raise FindingsError(_explanation(findings, self.subject.found, self.config))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The diagnosis as `trainguard check` prints it, without a traceback."""
        if isinstance(excinfo.value, FindingsError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The place of the first finding, else the subject, and a title."""
        place = self.verdict.findings[0].location if self.verdict.findings else Location()
        title = f"{self.verdict.check.code} {self.verdict.check.name}: {self.subject.name}"
        path = Path(printable(place.path or str(self.subject.path)))  # reports travel as UTF-8
        return path, (place.line or 1) - 1, title


def _explanation(findings: Sequence[Finding], found: Judged, config: pytest.Config) -> str:
    """Causes in full, with what they explain; of a symptom one line that points to its cause."""
    causes = [one for one in findings if not one.explained_by]
    folded = [one for one in found.findings if any(one in found.symptoms_of(c) for c in causes)]
    blocks = [text.full(Report(findings=(*causes, *folded)), summary=False)] if causes else []
    for symptom in findings:
        blocks += [
            f"{symptom.code} {symptom.name}: {symptom.message}\n  explained by {cause.code} "
            f"{cause.name}: see {_item_id(cause, config)}\n"
            for cause in found.causes_of(symptom)
        ]
    return "\n".join(blocks)


def _item_id(finding: Finding, config: pytest.Config) -> str:
    return f"{PREFIX}{_shown(config, finding.subject)}::{finding.code}[{finding.name}]"


class _Unchecked(pytest.Item):
    """Something that was asked for and is not there: nothing checked is not success."""

    reason: str

    def runtest(self) -> None:
        """Raise FindingsError."""
        raise FindingsError(self.reason)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The reason."""
        return str(excinfo.value)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The path of the session and a title."""
        return self.path, 0, f"trainguard: {self.reason}"


def _failing(session: pytest.Session, nodeid: str, reason: str) -> _Unchecked:
    name = nodeid.rpartition("::")[2]
    node: _Unchecked = _Unchecked.from_parent(session, name=name, nodeid=nodeid)
    node.reason = reason
    return node


def _empty(session: pytest.Session, path: Path, named: bool) -> _Unchecked:
    shown = _shown(session.config, path)
    reason = f"nothing was recognised to check in {shown}"
    node = _failing(session, f"{PREFIX}{shown}::nothing-recognised", reason)
    if not named:  # configured for a folder that a run has yet to fill
        node.add_marker(pytest.mark.skip(reason=reason))
    return node
