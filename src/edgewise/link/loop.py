"""A thread that does something until it fails, waits, and does it anew; see ``link.reconnect`` for how long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edgewise._lib.clock import Clock
from edgewise.errors import ClosedError, EdgewiseError
from edgewise.link.reconnect import Phase, Reconnect

logger = logging.getLogger(__name__)


class Loop:
    """Keeps something going.

    Args:
        name: Of the thread, and what a person is told by.
        serve: Does it until ``stopping`` is set, or raises. It calls ``connected`` once it works.
        clock: Time.
        random: 0 to 1, for jitter.
        level: What is logged at when it begins to fail; that it is refused is a warning.

    Attributes:
        state: Whether it works, and why not.
        stopping: Set when it is to end.
    """

    def __init__(
        self,
        name: str,
        *,
        serve: Callable[[], None],
        clock: Clock,
        random: Callable[[], float],
        level: int = logging.WARNING,
    ) -> None:
        self._name = name
        self._serve = serve
        self._clock = clock
        self._random = random
        self._level = level
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.stopping = threading.Event()
        self.state = Reconnect(since_s=clock.monotonic())

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, once ``serve`` does."""
        self.stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def connected(self, *, spread_s: float = 0.0) -> None:
        """It works, as it may have before; see ``Reconnect.connected``."""
        if self.state.phase is not Phase.CONNECTED:
            self.state = self.state.connected(self._clock.monotonic(), spread_s=spread_s)

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.state = self.state.tried(self._clock.monotonic())
            try:
                self._serve()
            except ClosedError:
                break
            except EdgewiseError as error:
                if self.stopping.is_set():
                    break
                self._fail(error)
            self.stopping.wait(max(0.0, self.state.until_s - self._clock.monotonic()))
        self.state = self.state.stopped(self._clock.monotonic())

    def _fail(self, error: EdgewiseError) -> None:
        before = self.state
        self.state = before.failed(error, self._clock.monotonic(), random=self._random)
        if self.state.phase is Phase.REFUSED:
            logger.warning("%s is refused: %s %s", self._name, error, error.hint)
        elif before.code != error.code:
            logger.log(self._level, "%s fails, and is tried again: %s", self._name, error)
