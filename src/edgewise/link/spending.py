"""One account of the link's bytes for all that calls the parent."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgewise._lib.clock import Clock
from edgewise.link.budget import Budget, BudgetSettings, Priority

REST_S = 300.0
"""A child without bytes for requests calls its parent so often, for what is neither event nor alarm."""

_LEAST_BYTES = 4 << 10  # a request, its answer and their proofs: what is less is nothing
_KEEP_S = 60.0  # it is kept this often: a crash forgets a minute of it


class Spending:
    """What was used of the day's bytes, and what is left. Safe for threads.

    Two threads that ask at the same moment may together go past the bound, by one request.

    Args:
        settings: The bounds.
        budget: What was used of today's before.
        keep: Called now and then with what was used, to be kept for the next start.
        clock: Time.

    Attributes:
        heard: Whether the parent has stated the time.
    """

    def __init__(
        self, settings: BudgetSettings, *, budget: Budget, keep: Callable[[Budget], None], clock: Clock
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()
        self._ahead_s = 0.0  # the parent's wall clock less this monotonic one
        self.heard = False
        self._keep_s = clock.monotonic() + _KEEP_S

    def bound(self, settings: BudgetSettings) -> None:
        """The link has other bounds from now on; what was used counts."""
        self._settings = settings

    def hear(self, time_s: float) -> None:
        """The parent has stated the time, by which days are counted."""
        self._ahead_s = time_s - self._clock.monotonic()
        self.heard = True

    def spend(self, size: int) -> None:
        """So many bytes went over the link, either way."""
        now_s = self._clock.monotonic()
        with self._lock:
            self._budget = self._budget.spend(size, self.time_s)
            due = now_s >= self._keep_s
            if due:
                self._keep_s = now_s + _KEEP_S
        if due:
            self.keep()

    def left(self, priority: Priority) -> int | None:
        """How many bytes something of a priority may still use today; None for any number."""
        return self._budget.left(priority, self._settings, self.time_s)

    @property
    def for_requests(self) -> int | None:
        """How many bytes requests of the parent and their answers may still use today; None for any number."""
        left = self.left(Priority.ASKED)
        return 0 if left is not None and left < _LEAST_BYTES else left

    @property
    def is_sparing(self) -> bool:
        """Whether nothing is left but what is kept for events and alarms."""
        return self.for_requests == 0

    @property
    def used_today(self) -> int:
        """Bytes of today's budget."""
        return self._budget.spend(0, self.time_s).used

    def keep(self) -> None:
        """Has it kept now."""
        self._keep(self._budget)

    @property
    def time_s(self) -> float:
        """The parent's time, as far as it is known: seconds since the Unix epoch."""
        return self._clock.monotonic() + self._ahead_s
