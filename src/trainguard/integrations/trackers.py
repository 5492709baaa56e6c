"""Findings in the experiment trackers that a run reports to, through their public interfaces.

No tracker is imported and no run is started: what the program has not loaded and opened itself is
no tracker of its run. Nothing is logged as a metric, because that would move the tracker's steps.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import Any, Protocol

from trainguard.findings import Finding, Report, Severity
from trainguard.integrations.deliveries import Deliveries
from trainguard.report import text

#: Characters: fewer than 64 make the title of an alert in W&B, 5000 are kept by every MLflow store.
MAX_TITLE = 63
MAX_TAG = 5000

_LEVELS = {Severity.ERROR: "ERROR", Severity.WARNING: "WARN", Severity.INFO: "INFO"}


class Tracker(Protocol):
    """One place of one tracker that a run reports to."""

    name: str
    #: Whether telling it may take long, as over a network, so that training must not wait.
    is_slow: bool

    def announce(self, cause: Finding, said: str) -> None:
        """Show a cause that is new, with `said`, the text of it and of its symptoms."""

    def end(self, report: Report, said: str) -> None:
        """Show the whole report of a run that has ended, as numbers and as text."""


class TensorBoard:
    """Texts beside the scalars of a `SummaryWriter`.

    Args:
        writer: of torch or tensorboardX.
        is_let_go: whether its owner has closed it, so that nobody else would close it again.
    """

    name = "TensorBoard"
    is_slow = False

    def __init__(self, writer: Any, is_let_go: Callable[[], bool] = lambda: False) -> None:
        self._writer = writer
        self._is_let_go = is_let_go
        self._step = 0

    def announce(self, cause: Finding, said: str) -> None:
        """A text at the step of the finding."""
        self._step = max(self._step, cause.moment)
        self._show(cause.code, said, cause.moment)

    def end(self, report: Report, said: str) -> None:
        """A text at the last step that a finding speaks of."""
        self._show("report", said, max([self._step, *(f.moment for f in report.findings)]))

    def _show(self, tag: str, said: str, step: int) -> None:
        # Indented text is shown as it is; a writer that was closed opens a second file.
        as_it_is = "\n".join(f"    {line}" for line in said.splitlines())
        self._writer.add_text(f"trainguard/{tag}", as_it_is, step)
        if self._is_let_go():
            self._writer.close()
        else:
            self._writer.flush()


class Wandb:
    """Alerts, and entries in the summary, of a `wandb.Run`."""

    name = "W&B"
    is_slow = False

    def __init__(self, run: Any) -> None:
        self._run = run

    def announce(self, cause: Finding, said: str) -> None:
        """An alert; the summary keeps the cause for a run that is killed."""
        self._run.alert(title=_title(cause), text=said, level=_LEVELS[cause.severity])
        self._run.summary[f"trainguard/{cause.code}"] = _line(cause)

    def end(self, report: Report, said: str) -> None:
        """The numbers and the text, in the summary."""
        numbers = {f"trainguard/{name}": number for name, number in _numbers(report).items()}
        self._run.summary.update({**numbers, "trainguard/report": said})


class MLflow:
    """Tags and a text artifact of a run, which may have been ended in the meantime."""

    name = "MLflow"
    is_slow = True

    def __init__(self, run_id: str) -> None:
        mlflow = sys.modules["mlflow"]
        self._client = mlflow.MlflowClient(tracking_uri=mlflow.get_tracking_uri())
        self._run_id = run_id

    def announce(self, cause: Finding, said: str) -> None:
        """A tag of the cause's code."""
        self._tag(f"trainguard.{cause.code}", _line(cause))

    def end(self, report: Report, said: str) -> None:
        """The numbers as tags, and the text as `trainguard/report.txt`."""
        for name, number in _numbers(report).items():
            self._tag(f"trainguard.{name}", str(number))
        self._client.log_text(self._run_id, said, "trainguard/report.txt")

    def _tag(self, name: str, value: str) -> None:
        self._client.set_tag(self._run_id, name, value[:MAX_TAG])


class Trackio:
    """Alerts of a Trackio run, which may have been finished in the meantime."""

    name = "Trackio"
    is_slow = False

    def __init__(self, run: Any) -> None:
        self._run = run

    def announce(self, cause: Finding, said: str) -> None:
        """An alert of the cause's severity."""
        self._alert(_title(cause), said, _LEVELS[cause.severity])

    def end(self, report: Report, said: str) -> None:
        """One more alert with a line for each finding, unless there is none."""
        if report.findings:
            codes = ", ".join(dict.fromkeys(cause.code for cause in report.causes))
            self._alert(f"trainguard: {codes}"[:MAX_TITLE], text.concise(report), "INFO")

    def _alert(self, title: str, said: str, level: str) -> None:
        levels = sys.modules["trackio"].AlertLevel
        self._run.alert(title=title, text=said, level=levels[level])


#: What finds the trackers, by a key that stays the same while the tracker does.
Find = Callable[[], Iterable[tuple[object, Tracker]]]


class Trackers:
    """Tells every tracker of a run each new cause once, and the report at the end.

    Args:
        find: the trackers that are active now. One that was seen once is told at the end even if
            it has been closed by then, as the Trainer's callbacks are before ours ends the run.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._known: dict[object, tuple[Tracker, Deliveries]] = {}
        self._finding = Deliveries("the trackers")
        self._look()

    def announce(self, new: Report) -> None:
        """Show the causes in this report; those of one code together."""
        self._look()
        for cause, about_it in _by_code(new):
            said = text.full(about_it, summary=False)
            self._tell(methodcaller("announce", cause, said))

    def end(self, report: Report) -> None:
        """Show the whole report, and wait a bounded time until it has arrived."""
        self._look()
        self._tell(methodcaller("end", report, text.full(report)))
        with _random_numbers_untouched():
            for _, deliveries in self._known.values():
                deliveries.wait()

    def _look(self) -> None:
        def look() -> None:
            for key, tracker in self._find():
                self._known.setdefault(key, (tracker, Deliveries(tracker.name)))

        with _random_numbers_untouched():
            self._finding.now(look)

    def _tell(self, tell: Callable[[Tracker], None]) -> None:
        with _random_numbers_untouched():
            for tracker, deliveries in self._known.values():
                how = deliveries.start if tracker.is_slow else deliveries.now
                how(partial(tell, tracker))


def of_process() -> Iterator[tuple[object, Tracker]]:
    """The runs of W&B, MLflow and Trackio that are active in this process."""
    yield from _active_wandb()
    yield from _active_mlflow()
    yield from _active_trackio()


def of_callbacks(callbacks: Iterable[Any]) -> Iterator[tuple[object, Tracker]]:
    """The trackers that a Trainer's callbacks report to and have opened."""
    for callback in callbacks:
        names = {base.__name__ for base in type(callback).__mro__}
        if "TensorBoardCallback" in names and (writer := callback.tb_writer) is not None:
            yield id(writer), TensorBoard(writer, partial(_has_let_go, callback, writer))
        if "WandbCallback" in names:
            yield from _active_wandb()
        if "MLflowCallback" in names:  # DagsHub's derives from it
            yield from _active_mlflow()
        if "TrackioCallback" in names:
            yield from _active_trackio()


def of_objects(trackers: Iterable[Any]) -> tuple[tuple[object, Tracker], ...]:
    """The trackers that a user names: writers of TensorBoard and runs of the others.

    Raises:
        TypeError: one of them is none of these.
    """
    return tuple((id(tracker), _of_object(tracker)) for tracker in trackers)


def _of_object(tracker: Any) -> Tracker:
    if hasattr(tracker, "add_text"):
        return TensorBoard(tracker)
    libraries = {base.__module__.partition(".")[0] for base in type(tracker).__mro__}
    if "wandb" in libraries and hasattr(tracker, "summary"):
        return Wandb(tracker)
    if "mlflow" in libraries and hasattr(tracker, "info"):
        return MLflow(tracker.info.run_id)
    if "trackio" in libraries and hasattr(tracker, "alert"):
        return Trackio(tracker)
    raise TypeError(
        f"{type(tracker).__name__} is no tracker that is known; use a SummaryWriter or a run of "
        "W&B, MLflow or Trackio"
    )


def _active_wandb() -> Iterator[tuple[object, Tracker]]:
    run = getattr(sys.modules.get("wandb"), "run", None)
    if run is not None:
        yield ("wandb", run.id), Wandb(run)


def _active_mlflow() -> Iterator[tuple[object, Tracker]]:
    mlflow = sys.modules.get("mlflow")
    run = mlflow.active_run() if mlflow is not None else None
    if run is not None:
        yield ("mlflow", run.info.run_id), MLflow(run.info.run_id)


def _active_trackio() -> Iterator[tuple[object, Tracker]]:
    trackio = sys.modules.get("trackio")
    run = trackio.context_vars.current_run.get() if trackio is not None else None
    if run is not None:
        yield id(run), Trackio(run)


def _has_let_go(callback: Any, writer: Any) -> bool:
    """Whether a callback has closed its writer, which it does before it forgets it."""
    return callback.tb_writer is not writer


def _by_code(new: Report) -> Iterator[tuple[Finding, Report]]:
    """The first cause of each code, and what the report says of that code and its symptoms."""
    for code in dict.fromkeys(cause.code for cause in new.causes):
        about_it = tuple(f for f in new.findings if code in (f.code, *f.explained_by))
        yield (
            next(cause for cause in new.causes if cause.code == code),
            replace(new, findings=about_it),
        )


def _title(cause: Finding) -> str:
    return f"{cause.code} {cause.name}"[:MAX_TITLE]


def _line(cause: Finding) -> str:
    return f"{cause.severity.value} {cause.name}: {cause.message}"


def _numbers(report: Report) -> dict[str, int]:
    return {
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "causes": len(report.causes),
    }


@contextmanager
def _random_numbers_untouched() -> Iterator[None]:
    """Clients draw from Python's generator, for the pauses between attempts: it is the run's."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
