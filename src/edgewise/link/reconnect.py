"""When a child that lost its parent tries again. Pure: a state and the moves it can make.

Waits grow by doubling and are drawn at random from nothing to their bound (*full jitter*, Brooker 2015), so that a
thousand children that lost the same parent at the same moment come back spread out; a parent of so many tells them over
how long, since each of them costs it a handshake and a few proofs. A parent that is busy says how long
to stay away, and that is kept to, with jitter on top. What no waiting mends (the parent does not know the child any
more, it is not the parent that was pinned) is tried seldom, and told a person.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec

from edgewise.errors import AccessError, ConflictError, EdgewiseError, RetryError

FIRST_S = 1.0
"""Bound of the first wait: what a parent needs to restart is longer, and a lost packet should not cost more."""

LONGEST_S = 60.0
"""Bound of any wait: when the parent is back, its children are within a minute."""

REFUSED_S = 300.0
"""Wait of a child that was refused: somebody has to do something first."""

STABLE_S = 30.0
"""A connection that held for so long was a good one: the next wait begins small again."""


class Phase(enum.StrEnum):
    """What a link is at."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    REFUSED = "refused"
    STOPPED = "stopped"


class Reconnect(msgspec.Struct, frozen=True):
    """The state of a link.

    Attributes:
        phase: What it is at.
        failures: Tries that failed since the last good connection.
        since_s: When the phase began, on the monotonic clock.
        until_s: When the next try is due, while waiting or refused.
        code: Of the newest error; empty when there was none since the last good connection.
        message: The same for a person.
        hint: What that person may do.
        spread_s: Bound of the first wait after this connection, when the parent told one.
    """

    phase: Phase = Phase.CONNECTING
    failures: int = 0
    since_s: float = 0.0
    until_s: float = 0.0
    code: str = ""
    message: str = ""
    hint: str = ""
    spread_s: float = 0.0

    def tried(self, now_s: float) -> Reconnect:
        """A try begins."""
        return msgspec.structs.replace(self, phase=Phase.CONNECTING, since_s=now_s)

    def connected(self, now_s: float, *, spread_s: float = 0.0) -> Reconnect:
        """The parent said welcome, and over how long its children are to come back after they lost it."""
        return Reconnect(Phase.CONNECTED, self.failures, now_s, spread_s=min(max(spread_s, 0.0), LONGEST_S))

    def failed(self, error: EdgewiseError, now_s: float, *, random: Callable[[], float]) -> Reconnect:
        """A try, or a connection, has failed.

        Args:
            error: Why.
            now_s: The monotonic clock.
            random: 0 to 1.
        """
        held = self.phase is Phase.CONNECTED and now_s - self.since_s >= STABLE_S
        failures = 1 if held else self.failures + 1
        refused = isinstance(error, AccessError | ConflictError)
        wait_s = (
            REFUSED_S * (0.5 + random() / 2) if refused else _wait_s(error, failures, random, first_s=self.spread_s)
        )
        return Reconnect(
            Phase.REFUSED if refused else Phase.WAITING,
            failures,
            now_s,
            now_s + wait_s,
            error.code,
            error.message,
            error.hint,
            self.spread_s,
        )

    def stopped(self, now_s: float) -> Reconnect:
        """The node stops."""
        return msgspec.structs.replace(self, phase=Phase.STOPPED, since_s=now_s)


def _wait_s(error: EdgewiseError, failures: int, random: Callable[[], float], *, first_s: float) -> float:
    bound = min(LONGEST_S, max(FIRST_S, first_s) * 2.0 ** min(failures - 1, 16))
    told = error.facts.get("retry_after_s") if isinstance(error, RetryError) else None
    least = min(max(float(told), 0.0), LONGEST_S) if isinstance(told, int | float) else 0.0
    return least + bound * random()
