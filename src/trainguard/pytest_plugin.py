"""trainguard in pytest: adapters and runs as items, and a fixture that fails on findings.

    pytest --trainguard outputs/            every adapter and run under outputs/ is an item

    def test_sft(trainguard):
        with trainguard.watch(model, optimizer):
            train(model, optimizer)
        trainguard.check("outputs/adapter")

Loading the plugin imports neither torch nor the checks; both wait until they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trainguard.facts.evidence import Evidence
    from trainguard.findings import Report
    from trainguard.integrations.evaluation import EvaluationAudit
    from trainguard.integrations.loop import LoopGuard


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--trainguard PATH` and `--trainguard-for PURPOSE`."""
    group = parser.getgroup("trainguard", "checks of training runs and adapters")
    group.addoption(
        "--trainguard",
        dest="trainguard_paths",
        action="append",
        default=[],
        metavar="PATH",
        help="collect every adapter, checkpoint and training run at or under PATH",
    )
    group.addoption(
        "--trainguard-for",
        dest="trainguard_purpose",
        choices=["train", "infer"],
        default=None,
        help="what these files are about to be used for",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Put one item per recognised adapter or run behind the collected tests."""
    for path in config.getoption("trainguard_paths"):
        items.extend(_items(session, Path(path), config.getoption("trainguard_purpose")))


def _items(session: pytest.Session, path: Path, purpose: Any) -> Iterator[pytest.Item]:
    from trainguard.facts.intent import Intent
    from trainguard.integrations.files import gather

    try:
        evidences = list(gather(path, Intent(purpose)))
    except FileNotFoundError as error:
        raise pytest.UsageError(f"--trainguard: {error}") from None
    if not evidences:
        raise pytest.UsageError(f"--trainguard: nothing was recognised to check in {path}")
    for evidence in evidences:
        yield EvidenceItem.from_parent(session, name=_name(evidence), evidence=evidence)


def _name(evidence: Evidence) -> str:
    return f"trainguard::{evidence.subject}::{evidence.kind.replace(' ', '-')}"


class FindingsError(Exception):
    """An item's report fails; holds the report."""

    def __init__(self, report: Report) -> None:
        super().__init__(", ".join(cause.code for cause in report.causes))
        self.report = report


class EvidenceItem(pytest.Item):
    """One adapter or training run; fails on an error finding."""

    def __init__(self, *, evidence: Evidence, **options: Any) -> None:
        super().__init__(**options)
        self._evidence = evidence

    def runtest(self) -> None:
        """Judge the evidence; raises FindingsError."""
        from trainguard.engine import judge

        report = judge([self._evidence])
        for finding in report.findings:
            self.user_properties.append((f"trainguard.{finding.code}", finding.message))
        if report.exit_code:
            raise FindingsError(report)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The diagnosis as `trainguard check` prints it, without a traceback."""
        if isinstance(excinfo.value, FindingsError):
            return _text(excinfo.value.report)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The subject's path and the item's name."""
        return Path(self._evidence.subject), None, self.name


class TrainGuardFixture:
    """What the `trainguard` fixture gives: each method fails the test on an error finding."""

    def check(self, *paths: str | Path, **options: Any) -> Report:
        """Check files as `trainguard.check` does; returns the report of clean ones."""
        from trainguard.integrations.files import check

        report = check(*paths, **options)
        _require_clean(report)
        return report

    @contextmanager
    def watch(self, model: Any, optimizer: Any, **options: Any) -> Iterator[LoopGuard]:
        """Watch a loop as `trainguard.watch` does; the report is judged when the block ends."""
        from trainguard.integrations.loop import watch

        with watch(model, optimizer, **options) as guard:
            yield guard
        _require_clean(guard.report)

    @contextmanager
    def audit_evaluation(self, llm: Any, **options: Any) -> Iterator[EvaluationAudit]:
        """Audit a score as `trainguard.audit_evaluation` does; judged when the block ends."""
        from trainguard.integrations.evaluation import audit_evaluation

        with audit_evaluation(llm, **options) as audit:
            yield audit
        _require_clean(audit.report)


@pytest.fixture
def trainguard() -> TrainGuardFixture:
    """Checks files, watches loops and audits scores; an error finding fails the test."""
    return TrainGuardFixture()


def _require_clean(report: Report) -> None:
    if report.exit_code:
        pytest.fail(_text(report), pytrace=False)


def _text(report: Report) -> str:
    from trainguard.report import text

    return text.full(report)
