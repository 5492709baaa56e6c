"""What the fixture `trainguard` gives to a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from trainguard.config import Settings
from trainguard.report import text
from trainguard.testing._settings import applied
from trainguard.testing._summary import properties_of

if TYPE_CHECKING:
    from trainguard.findings import Report
    from trainguard.integrations.evaluation import EvaluationAudit
    from trainguard.integrations.hf import TrainGuardCallback
    from trainguard.integrations.loop import LoopGuard


class TrainGuardFixture:
    """Each method fails the test on a finding that is grave enough, by default on an error.

    The options `--trainguard-select`, `--trainguard-ignore` and `--trainguard-fail-on` and the
    marker `trainguard(select=..., ignore=..., fail_on=...)` say which findings count.
    """

    def __init__(self, node: pytest.Item, settings: Settings) -> None:
        self._node = node
        self._settings = settings

    def check(self, *subjects: Any, **options: Any) -> Report:
        """Check files or live models as `trainguard.check` does; returns the report.

        The settings of the project hold. Nothing recognised at a path fails the test, too.
        """
        from trainguard.integrations.files import check

        return self.require(check(*subjects, **{"settings": self._settings, **options}))

    def preflight(self, model: Any, batch: Any = None, **options: Any) -> Report:
        """Look at a model and a batch as `trainguard.preflight` does; returns the report."""
        from trainguard.integrations.preflight import preflight

        return self.require(preflight(model, batch, **options))

    @contextmanager
    def watch(self, model: Any, optimizer: Any, **options: Any) -> Iterator[LoopGuard]:
        """Watch a loop as `trainguard.watch` does; the report is judged when the block ends."""
        from trainguard.integrations.loop import watch

        with watch(model, optimizer, **options) as guard, self._noted(lambda: guard.report):
            yield guard
        self.require(guard.report)

    @contextmanager
    def attach(self, trainer: Any, **options: Any) -> Iterator[TrainGuardCallback]:
        """Watch a transformers Trainer while it trains in the block; judged when that ends."""
        from trainguard.integrations.hf import attach

        callback = attach(trainer, **options)
        try:
            with self._noted(lambda: callback.report):
                yield callback
        finally:
            trainer.remove_callback(callback)
        self.require(callback.report)

    @contextmanager
    def audit_evaluation(self, llm: Any, **options: Any) -> Iterator[EvaluationAudit]:
        """Audit a score as `trainguard.audit_evaluation` does; judged when the block ends."""
        from trainguard.integrations.evaluation import audit_evaluation

        audit = audit_evaluation(llm, **options)
        with self._noted(lambda: audit.report), audit:
            yield audit
        self.require(audit.report)

    def require(self, report: Report) -> Report:
        """Fail the test with the diagnosis unless the report, as selected, is clean; returns it."""
        report = applied(self._settings, report)
        for finding in report.findings:
            self._node.user_properties += properties_of(finding)
        if report.exit_code:
            pytest.fail(text.full(report), pytrace=False)
        return report

    @contextmanager
    def _noted(self, report: Callable[[], Report]) -> Iterator[None]:
        """If the block raises, what was found until then stands beside the traceback."""
        try:
            yield
        except BaseException:
            found = applied(self._settings, report())
            if found.findings:
                self._node.add_report_section("call", "trainguard", text.full(found))
            raise
