"""How many bytes a link may carry in a day, and for what. Pure.

What is more urgent may use more of it: of each day's bytes the last part is kept for events and alarms, and the very
last for alarms alone, so that neither a day of readings nor somebody who watches a camera from above costs an alarm. A
metered link carries events, alarms and what a person asks for.
Bytes count from midnight UTC by the parent's time, which the child hears with each welcome, so a wrong clock
neither opens the budget nor closes it.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

DAY_S = 86_400


class Priority(enum.IntEnum):
    """How urgent something is; the smaller number goes first."""

    ALARM = 0
    EVENT = 1
    ASKED = 2  # what a person asks for: requests from above, pictures that come back
    READING = 3
    MEDIA = 4  # pictures and clips, and those that a larger model is asked about


PRIORITIES = {"alarms": Priority.ALARM, "events": Priority.EVENT, "decisions": Priority.EVENT, "audit": Priority.EVENT}
"""Of the streams that a node has; any other is a reading's."""

_SHARES = {
    Priority.ALARM: 1.0,
    Priority.EVENT: 0.95,
    Priority.ASKED: 0.9,
    Priority.READING: 0.8,
    Priority.MEDIA: 0.6,
}
"""Up to which part of the day's bytes each may go."""


class BudgetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the way to the parent may cost.

    Attributes:
        bytes_per_day: Sent to the parent and received from it, at most; 0 has no bound. Of it what a person asks for
            may use nine tenths, readings four fifths, pictures and clips three, so that events and alarms always find
            some left.
        metered: Each byte costs: only events and alarms are sent, and what a person asks for. Readings wait on the
            node, within their bounds there.
    """

    bytes_per_day: Annotated[int, Meta(ge=0)] = 0
    metered: bool = False


class Budget(msgspec.Struct, frozen=True):
    """What was used of a day: ``day`` counts from the Unix epoch."""

    day: int = 0
    used: int = 0

    def spend(self, size: int, time_s: float) -> Budget:
        """After ``size`` bytes went over the link. Time that goes back opens no new day."""
        day = max(self.day, int(time_s // DAY_S))
        return Budget(day, size + (self.used if day == self.day else 0))

    def left(self, priority: Priority, settings: BudgetSettings, time_s: float) -> int | None:
        """How many bytes something of a priority may still use today; None for any number.

        Args:
            priority: Of what is to be sent.
            settings: The bounds.
            time_s: The parent's time.
        """
        if settings.metered and priority > Priority.ASKED:
            return 0
        if not settings.bytes_per_day:
            return None
        used = self.spend(0, time_s).used
        return max(0, int(settings.bytes_per_day * _SHARES[priority]) - used)


def priority_of(stream: str) -> Priority:
    """How urgent the records of a stream are."""
    return PRIORITIES.get(stream, Priority.READING)
