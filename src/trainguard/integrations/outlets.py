"""Where the findings of a live run go besides the log and the record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from trainguard.findings import Report
from trainguard.integrations.notify import Notifier, Notify, sender
from trainguard.integrations.trackers import Find, Trackers, of_objects


class Outlet(Protocol):
    """Somebody who is told; what fails there ends neither the run nor the watching."""

    def announce(self, new: Report) -> None:
        """Take causes that are new, with their symptoms; training goes on when this returns."""

    def end(self, report: Report) -> None:
        """Take the whole report of a run that has ended."""


class Outlets:
    """Whom a user wants to be told.

    Args:
        notify: whom an error is sent to, see `trainguard.integrations.notify`.
        trackers: a `SummaryWriter` or runs of trackers; None for those that a run reports to.

    Raises:
        ValueError: notify is a text that is no URL.
        TypeError: notify or a tracker is of no kind that is known.
    """

    def __init__(self, notify: Notify | None, trackers: Iterable[Any] | None) -> None:
        self._send = sender(notify)
        self._named = of_objects(trackers) if trackers is not None else None

    def of_run(self, active: Find) -> tuple[Outlet, ...]:
        """The outlets of one run.

        Args:
            active: finds the trackers that the run reports to, where the user names none.
        """
        named = self._named
        trackers = Trackers(active if named is None else lambda: named)
        return (trackers, Notifier(self._send))
