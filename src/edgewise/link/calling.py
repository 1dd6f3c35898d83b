"""A thread that holds a connection to the parent: makes it, uses it until something fails, waits, makes it anew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edgewise._lib.clock import Clock
from edgewise.errors import ClosedError, EdgewiseError
from edgewise.link.client import Client
from edgewise.link.reconnect import Phase, Reconnect
from edgewise.link.spending import REST_S, Spending

_LOOK_S = 1.0  # who rests looks this often whether there are bytes again

logger = logging.getLogger(__name__)


class Calling:
    """One purpose's way to the parent.

    Args:
        name: Of the thread, and what a person is told by.
        connect: Makes a connection; nothing is sent before it is used.
        serve: Uses it until ``stopping`` is set, or raises. It calls ``connected`` once the parent has answered.
        clock: Time.
        random: 0 to 1, for jitter.

    Attributes:
        state: Whether the parent is there, and why not.
        stopping: Set when it is to end.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], Client],
        serve: Callable[[Client], None],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._name = name
        self._connect = connect
        self._serve = serve
        self._clock = clock
        self._random = random
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.stopping = threading.Event()
        self.state = Reconnect(since_s=clock.monotonic())

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, also while an answer is waited for."""
        self.stopping.set()
        if (client := self._client) is not None:
            client.close()
        if self._thread.is_alive():
            self._thread.join()

    def connected(self, *, spread_s: float = 0.0) -> None:
        """The parent has answered; see ``Reconnect.connected``."""
        if self.state.phase is not Phase.CONNECTED:
            self.state = self.state.connected(self._clock.monotonic(), spread_s=spread_s)

    def rest(self, spending: Spending) -> None:
        """Gives the connection back and waits, ``REST_S`` at most, while the link is sparing."""
        until_s = self._clock.monotonic() + REST_S
        if spending.is_sparing and (client := self._client) is not None:
            client.close()
        while spending.is_sparing and self._clock.monotonic() < until_s:
            if self.stopping.wait(_LOOK_S):
                return

    def _run(self) -> None:
        while not self.stopping.is_set():
            self.state = self.state.tried(self._clock.monotonic())
            client = self._client = self._connect()
            try:
                self._serve(client)
            except ClosedError:
                break
            except EdgewiseError as error:
                if self.stopping.is_set():
                    break
                self._fail(error)
            finally:
                client.close()
            self.stopping.wait(max(0.0, self.state.until_s - self._clock.monotonic()))
        self.state = self.state.stopped(self._clock.monotonic())

    def _fail(self, error: EdgewiseError) -> None:
        before = self.state
        self.state = before.failed(error, self._clock.monotonic(), random=self._random)
        if self.state.phase is Phase.REFUSED:
            logger.warning("%s: the parent refuses this node: %s %s", self._name, error, error.hint)
        elif before.code != error.code:
            logger.info("%s: the parent is not there: %s", self._name, error)
