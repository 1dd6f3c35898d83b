"""What a node does now and then, beside its work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edgewise.errors import ClosedError

INTERVAL_S = 60.0

logger = logging.getLogger(__name__)


class Upkeep:
    """Does a task at intervals, in a thread of its own. A failure is told and the next round tries again.

    Args:
        task: What to do.
        interval_s: Seconds between rounds.
    """

    def __init__(self, task: Callable[[], None], *, interval_s: float = INTERVAL_S) -> None:
        self._task = task
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begins; the first round comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, after the round under way."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                self._task()
            except ClosedError:
                return
            except Exception:
                logger.exception("upkeep failed; the next round tries again")
