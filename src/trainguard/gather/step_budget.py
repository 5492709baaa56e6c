"""How often a step is looked at closely: as often as its share of the step's time allows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

#: Steps at the start of a run that are looked at closely whatever it costs, and so many in a row
#: after something unusual: a run in which every step is unusual is an ordinary one of its kind.
CLOSE_AT_FIRST = 8


class Budget:
    """Says at which steps there is time for a close look, from what the last ones took.

    Args:
        share: of a step's time that all looks together may take, above 0. What every step is looked
            at for comes first; at least a tenth of the share is left for close looks.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._steps = 0
        self._next = 0
        self._unusual = 0
        self._always = 0.0
        self._spent = 0.0
        self._step_began = time.perf_counter()

    @property
    def allows(self) -> bool:
        """Whether the step that is under way is looked at closely."""
        return self._steps >= self._next

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Around what belongs to a close look."""
        began = time.perf_counter()
        yield
        self._spent += time.perf_counter() - began

    @contextmanager
    def always_spending(self) -> Iterator[None]:
        """Around what is done at every step."""
        began = time.perf_counter()
        yield
        self._always += time.perf_counter() - began

    def step_ended(self, *, is_unusual: bool) -> None:
        """Plan the next close look: soon after something unusual, else as the budget allows."""
        now = time.perf_counter()
        self._steps += 1
        self._unusual = self._unusual + 1 if is_unusual else 0
        if self._spent:
            duration = now - self._step_began - self._spent
            allowed = max(self._share * duration - self._always, self._share * duration / 10)
            pause = self._spent / allowed if duration > 0 else 1
            self._next = self._steps + (ceil(pause) - 1 if self._steps >= CLOSE_AT_FIRST else 0)
        if 0 < self._unusual <= CLOSE_AT_FIRST:
            self._next = self._steps
        self._always, self._spent, self._step_began = 0.0, 0.0, now
