"""What leaves the process beside the training: in threads that training never waits for."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable

#: Seconds that the end of a run, or of the process, waits for what is still under way.
PATIENCE = 10.0

logger = logging.getLogger("trainguard")


class Deliveries:
    """What one run sends to one receiver; a failure is logged once and ends nothing.

    Args:
        receiver: as the log names it; it must hold no secret, such as a webhook's address.
    """

    def __init__(self, receiver: str) -> None:
        self._receiver = receiver
        self._threads: list[threading.Thread] = []
        self._has_failed = False

    def start(self, deliver: Callable[[], object]) -> None:
        """Deliver at some time soon, in a thread of its own."""
        thread = threading.Thread(
            target=self.now, args=(deliver,), name=f"trainguard: {self._receiver}", daemon=True
        )
        if not self._threads:
            atexit.register(self.wait)  # a run that an exception ends is waited for here
        self._threads.append(thread)
        thread.start()

    def now(self, deliver: Callable[[], object]) -> None:
        """Deliver in this thread."""
        try:
            deliver()
        except Exception as error:
            if not self._has_failed:
                self._has_failed = True
                logger.warning("trainguard could not tell %s: %s", self._receiver, _named(error))

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait for what is under way, no longer than this in all."""
        atexit.unregister(self.wait)
        end = time.monotonic() + seconds
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))


class DeliveryError(Exception):
    """A delivery that failed, in words that may stand in a log."""


def _named(error: Exception) -> str:
    """Only the kind of a foreign error: its text may quote the address that was to be kept."""
    return str(error) if isinstance(error, DeliveryError) else type(error).__name__
