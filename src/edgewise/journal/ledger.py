"""The loss ledger as the writer keeps it: lines are joined where that hides nothing, so that it stays short.

Lines that touch are joined within an hour. Those of thinned records are joined whenever what lay between them goes too,
and say when that was: a stream then has no more of them than blocks, however long it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgewise._lib.clock import Clock
from edgewise.journal.base import Reason
from edgewise.journal.database import Database
from edgewise.journal.retention import Run, Span, join

_SPAN_NS = 3600 * 10**9  # lines are joined within an hour


class Ledger:
    """Writes the ledger; its changes belong to the group under way.

    Args:
        database: The journal's.
        clock: Time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def enter(self, stream: int, consumer: str, run: Run) -> None:
        """Writes one line, or extends the newest one; nothing for a run that is empty or has no reason."""
        count = run.last - run.first + 1
        if count <= 0 or run.reason is None:
            return
        now = self._clock.time_ns()
        line = self._database.one("select_last_loss", stream, consumer)
        if line and line[1] + 1 == run.first and line[2] == run.reason and abs(now - line[3]) < _SPAN_NS:
            self._database.change("extend_loss", run.last, count, line[0])
        else:
            self._database.change("insert_loss", stream, consumer, run.first, run.last, count, run.reason, now)

    def enter_thinned(self, stream: int, consumer: str, spans: Sequence[tuple[int, int]]) -> None:
        """Writes that records were thinned; ``spans`` are in order and do not touch."""
        if not spans:
            return
        bounds = spans[0][0], spans[-1][1] + 1
        lines = [Span(*row) for row in self._database.all("select_thinned", stream, consumer, *bounds)]
        gone, made = join(lines, spans)
        now = self._clock.time_ns()
        self._database.change_each("delete_loss", ((key,) for key in gone))
        self._database.change_each(
            "insert_loss",
            ((stream, consumer, first, last, last - first + 1, Reason.THINNED, now) for first, last in made),
        )
