"""A thread that holds a connection to the parent: makes it, uses it until something fails, waits, makes it anew."""

from __future__ import annotations

import logging
from collections.abc import Callable

from edgewise._lib.clock import Clock
from edgewise.link.client import Client
from edgewise.link.loop import Loop
from edgewise.link.spending import REST_S, Spending

_LOOK_S = 1.0  # who rests looks this often whether there are bytes again


class Calling(Loop):
    """One purpose's way to the parent. That the parent is away now and then is no cause for a warning.

    Args:
        name: See ``Loop``.
        connect: Makes a connection; nothing is sent before it is used.
        serve: Uses it until ``stopping`` is set, or raises. It calls ``connected`` once the parent has answered.
        clock: Time.
        random: 0 to 1, for jitter.
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
        super().__init__(name, serve=self._call, clock=clock, random=random, level=logging.INFO)
        self._connect = connect
        self._use = serve
        self._client: Client | None = None

    def stop(self) -> None:
        """Ends, also while an answer is waited for."""
        self.stopping.set()
        if (client := self._client) is not None:
            client.end()
        super().stop()

    def rest(self, spending: Spending) -> None:
        """Gives the connection back and waits, ``REST_S`` at most, while the link is sparing."""
        until_s = self._clock.monotonic() + REST_S
        if spending.is_sparing and (client := self._client) is not None:
            client.close()
        while spending.is_sparing and self._clock.monotonic() < until_s:
            if self.stopping.wait(_LOOK_S):
                return

    def _call(self) -> None:
        client = self._client = self._connect()
        try:
            if not self.stopping.is_set():  # else nobody would end it any more
                self._use(client)
        finally:
            client.close()
