"""One watched run: keeps its facts, judges them as they come, records them and speaks up.

Shared by the Trainer callback and the plain loop. It knows neither torch nor transformers.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from trainguard.engine import judge
from trainguard.facts import model as model_facts
from trainguard.facts.evidence import Evidence
from trainguard.facts.failure import Failure
from trainguard.facts.layers import LayerStep
from trainguard.facts.model import ModelFacts, OptimizerFacts
from trainguard.facts.steps import StepFacts
from trainguard.findings import Finding, Report, Severity
from trainguard.gather.run import FOLDER, REPORT_FILE, STEPS_FILE, step_to_json, with_log
from trainguard.gather.run_layers import LayerWriter
from trainguard.registry import Check, select
from trainguard.report import text

if TYPE_CHECKING:
    from trainguard.integrations.outlets import Outlet

OnFinding = Literal["warn", "stop", "raise"]

RECORD_VERSION = 1
#: Steps that the final report judges; a run may be longer, memory must not.
HISTORY = 10_000
#: Steps that are judged while the run goes on; the longest pattern that can begin in mid-run is of
#: 25 steps. What needs the beginning of a longer run, the report at its end says.
RECENT = 64
#: Ordinary steps of which each is judged, at the beginning, and the most that wait to be judged
#: together: with the pattern before them they are among the recent ones.
AT_ONCE = 8
PATIENCE = 32
#: Share of the time since ordinary steps were last judged that judging them may take.
JUDGING = 0.0005
#: Seconds after which what was recorded is written to the disk at the latest.
WRITTEN_EVERY = 1.0

#: Share of a step's time that a close look may take.
OVERHEAD = 0.005

_ABSENT = {
    StepFacts: "no step was made yet",
    OptimizerFacts: "another engine than a torch optimizer steps the parameters",
}

logger = logging.getLogger("trainguard")


def _is_live(check: Check) -> bool:
    """Whether a check can ever say something of a run that goes on; most are about files."""
    kinds = {need.kind for need in check.needs if not need.optional}
    return kinds <= {Failure, ModelFacts, OptimizerFacts, StepFacts}


def checked_overhead(share: float) -> float:
    """The share itself; raises ValueError if it is not above 0."""
    if not share > 0:
        raise ValueError(f"overhead is {share!r}; it is a share of the step's time, above 0")
    return share


class TrainGuardError(RuntimeError):
    """Raised by `on_finding="raise"`; the message is the diagnosis, `report` the whole report."""

    def __init__(self, report: Report) -> None:
        super().__init__("\n" + text.full(report))
        self.report = report


class Guard:
    """The facts, the findings and the record of one run.

    Args:
        subject: the run as messages name it.
        folder: where `trainguard/steps.jsonl`, `report.json` and `report.html` go; None records
            nothing.
        on_finding: what an error does: "warn" logs it once per cause, "stop" also asks the run
            to end, "raise" raises TrainGuardError.
        selected: the checks to run; all by default.
        speaks: whether causes are logged; of several processes that see the same, one does.
    """

    def __init__(
        self,
        *,
        subject: str,
        folder: Path | None = None,
        on_finding: OnFinding = "warn",
        selected: Iterable[Check] | None = None,
        speaks: bool = True,
    ) -> None:
        if on_finding not in ("warn", "stop", "raise"):
            raise ValueError(f"on_finding is {on_finding!r}; use 'warn', 'stop' or 'raise'")
        self.subject = subject
        self.on_finding = on_finding
        self.stop_requested = False
        self._checks = tuple(select() if selected is None else selected)
        self._live = tuple(check for check in self._checks if _is_live(check))
        self._structure: dict[type, Any] = {}
        self._steps: deque[StepFacts] = deque(maxlen=HISTORY)
        self._unjudged = 0
        self._judging_took = 0.0
        self._judged_at = self._written_at = time.perf_counter()
        self._failures: list[Failure] = []
        self._announced: set[str] = set()
        self._speaks = speaks
        self._folder = folder / FOLDER if folder is not None else None
        self._record: TextIO | None = None
        self._layers = LayerWriter()
        self._outlets: tuple[Outlet, ...] = ()

    @property
    def report(self) -> Report:
        """Everything found so far."""
        return self._judge(tuple(self._steps), self._checks)

    def open(self, *, resumed: bool = False, **run: Any) -> None:
        """Start the record with what is known of the run; a resumed run continues its record."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / STEPS_FILE
        self._record = path.open("a" if resumed else "w", encoding="utf-8")
        self._write({"kind": "run", "version": RECORD_VERSION, **run})

    def tell(self, *outlets: Outlet) -> None:
        """Tell these too: each new cause as it is found, and the report at the end."""
        self._outlets += outlets

    def structure(self, *facts: ModelFacts | OptimizerFacts) -> None:
        """Take in what the model and the optimizer look like before the first step."""
        for fact in facts:
            self._structure[type(fact)] = fact
            kind = "model" if isinstance(fact, ModelFacts) else "optimizer"
            self._write({"kind": kind, **model_facts.to_dict(fact)})

    def steps(self, new: Iterable[StepFacts]) -> None:
        """Take in finished steps."""
        for step in new:
            self._steps.append(step)
            self._unjudged += 1
            is_first = len(self._steps) <= AT_ONCE
            self._write({"kind": "step", **step_to_json(step)}, at_once=is_first or step.is_unusual)

    def layers(self, seen: Iterable[LayerStep]) -> None:
        """Record what was seen layer by layer; no check judges it."""
        for entry in self._layers.entries(seen):
            self._write(entry, at_once=False)

    def ranks(self, compared: Iterable[StepFacts]) -> None:
        """Take in what a comparison of ranks says of earlier steps."""
        for step in compared:
            self._merge(step)

    def log(self, log: StepFacts) -> None:
        """Take in what the training log says of a step."""
        self._merge(log)

    def _merge(self, log: StepFacts) -> None:
        self._write({"kind": "log", **step_to_json(log)}, at_once=log.is_unusual)
        for index in range(len(self._steps) - 1, -1, -1):
            if self._steps[index].step == log.step:
                self._steps[index] = with_log(self._steps[index], log)
                if log.is_unusual:
                    self._unjudged = max(self._unjudged, len(self._steps) - index)
                return
            if self._steps[index].step < log.step:
                break
        self._steps.append(log)
        self._unjudged += 1

    def review(self, *, last: bool = False) -> None:
        """Judge the recent steps; announce, stop or raise for causes that are new.

        Ordinary steps wait until there are some of them, for judging takes time.

        Args:
            last: whether no step follows.
        """
        waiting = min(self._unjudged, len(self._steps))
        new = (self._steps[-place] for place in range(1, waiting + 1))
        if last or self._is_due() or any(step.is_unusual for step in new):
            self._unjudged = 0
            began = time.perf_counter()
            self._review(self._recent())
            self._judged_at = time.perf_counter()
            self._judging_took = self._judged_at - began

    def _is_due(self) -> bool:
        if self._unjudged >= PATIENCE or len(self._steps) <= AT_ONCE:
            return True
        return self._judging_took <= JUDGING * (time.perf_counter() - self._judged_at)

    def foresee(self, step: StepFacts) -> None:
        """The same with an unusual step whose update is still to come.

        It is taken in when it ends, or here if it never will.
        """
        if not step.is_unusual:
            return
        try:
            self._review((*self._recent(), step))
        except TrainGuardError:
            self.steps([step])
            raise

    def _recent(self) -> tuple[StepFacts, ...]:
        return tuple(self._steps[i] for i in range(-min(RECENT, len(self._steps)), 0))

    def _review(self, recent: tuple[StepFacts, ...]) -> None:
        report = self._judge(recent, self._live)
        new = [cause for cause in report.causes if cause.code not in self._announced]
        if not new:
            return
        self._announced |= {finding.code for finding in report.findings}
        self._act(report, new)

    def close(self) -> None:
        """End the record, write the report and tell it."""
        self._close_record()
        outlets, self._outlets = self._outlets, ()
        if outlets:
            report = self.report
            for outlet in outlets:
                outlet.end(report)

    def _close_record(self) -> None:
        """End the record and write the report, for programs and as a page."""
        if self._folder is None or self._record is None:
            return
        record, self._record = self._record, None
        with record:
            report = self.report
            (self._folder / REPORT_FILE).write_text(report.to_json() + "\n", encoding="utf-8")
        with suppress(Exception):  # the page is a convenience; all that it shows is on the disk
            from trainguard.integrations.run_pages import write_page

            write_page(report, self._folder, tuple(self._steps))

    @contextmanager
    def shielded(self, what: str, stop_watching: Callable[[], None]) -> Iterator[None]:
        """Keep an exception of trainguard's own from ending the user's run.

        Args:
            what: what is being done, for the report.
            stop_watching: takes everything off the run; called after a failure, and before the
                TrainGuardError that the user asked for leaves.
        """
        try:
            yield
        except TrainGuardError:
            stop_watching()
            self.close()
            raise
        except Exception as error:
            stop_watching()
            self.fail(what, error)

    def fail(self, what: str, error: Exception) -> None:
        """Note a failure of trainguard itself; it is reported as TG000."""
        failure = Failure(what, f"{type(error).__name__}: {error}")
        self._failures.append(failure)
        logger.warning("trainguard stopped watching: %s failed with %s", what, failure.error)
        try:
            self._write({"kind": "failure", "what": what, "error": failure.error})
        except (OSError, ValueError):
            self._record = None

    def _judge(self, steps: tuple[StepFacts, ...], checks: Sequence[Check]) -> Report:
        if not steps and not self._structure and not self._failures:
            return judge([], checks)  # nothing was watched yet, which is no clean bill
        facts: dict[type, Any] = {**self._structure, Failure: tuple(self._failures)}
        if steps:
            facts[StepFacts] = steps
        evidence = Evidence(
            subject=self.subject,
            kind="training run",
            facts=facts,
            absent=_ABSENT,
            path=str(self._folder / STEPS_FILE) if self._folder else None,
        )
        return judge([evidence], checks)

    def _act(self, report: Report, new: list[Finding]) -> None:
        kept = {cause.code for cause in new}
        shown = replace(
            report,
            findings=tuple(
                finding
                for finding in report.findings
                if finding.code in kept or kept & set(finding.explained_by)
            ),
        )
        if self._speaks:
            logger.warning("\n%s", text.full(shown, summary=False))
        for outlet in self._outlets:
            outlet.announce(shown)
        if all(cause.severity is not Severity.ERROR for cause in new):
            return
        if self.on_finding == "raise":
            raise TrainGuardError(shown)
        self.stop_requested = self.on_finding == "stop"

    def _write(self, entry: dict[str, Any], *, at_once: bool = True) -> None:
        """One line, soon on the disk: a killed run keeps its evidence."""
        if self._record is None:
            return
        self._record.write(json.dumps(entry) + "\n")
        now = time.perf_counter()
        if at_once or now - self._written_at >= WRITTEN_EVERY:
            self._record.flush()
            self._written_at = now
