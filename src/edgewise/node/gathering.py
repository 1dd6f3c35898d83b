"""From the journal to pipelines: readings of the nodes below, for sources of kind ``below``.

A consumer of each stream of readings. It acknowledges what a pipeline has taken into its queue, so a crash may cost a
pipeline what waited there: the readings themselves stay in the journal, within its bounds, but are not gone through
again. Whoever needs each of them exactly once sends them on as they are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from edgewise.errors import BusyError, ClosedError, EdgewiseError
from edgewise.journal.base import StreamState
from edgewise.journal.custody import key_of
from edgewise.node.landing import Kept
from edgewise.node.organs import PIPELINE
from edgewise.node.streams import READINGS
from edgewise.pipeline.base import Measured
from edgewise.pipeline.sources.below import BelowSource
from edgewise.types import Record

_BATCH = 1024
_IDLE_S = 1.0
_PATIENCE_S = 0.05

logger = logging.getLogger(__name__)


class Gathering:
    """Feeds one pipeline, in a thread.

    Args:
        journal: Where readings come from.
        source: The pipeline's.
        node: This node's name.
    """

    def __init__(self, journal: Kept, source: BelowSource, *, node: str) -> None:
        self._journal = journal
        self._source = source
        self._node = node
        self._consumer = f"{PIPELINE}{source.name}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gathering for {source.name}", daemon=True)

    def start(self) -> None:
        """Begins where it ended."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        seen = 0
        try:
            while not self._stopping.is_set():
                fed = [self._feed(stream) for stream in self._streams()]
                if not any(fed):
                    seen = self._journal.news(seen, timeout_s=_IDLE_S)
        except ClosedError:
            return
        except EdgewiseError:
            logger.exception("%s gets no more readings", self._source.name)

    def _streams(self) -> list[StreamState]:
        wanted = self._source.nodes
        return [
            each
            for each in self._journal.streams()
            if each.node != self._node and each.stream == READINGS and (not wanted or each.node in wanted)
        ]

    def _feed(self, stream: StreamState) -> bool:
        """Hands over the next readings of a node; whether there were any."""
        key = key_of(stream.node, stream.stream)
        acked = self._journal.follow(key, self._consumer)
        if acked >= stream.last:
            return False
        records = self._journal.read(key, after=acked, limit=_BATCH)
        measured = [each for each in map(measured_of, records) if each is not None]
        step = max(1, self._source.capacity // 2)
        for start in range(0, len(measured), step):
            if not self._accept(measured[start : start + step]):
                return False
        self._journal.advance(key, self._consumer, records[-1].sequence if records else stream.last)
        return True

    def _accept(self, measured: Sequence[Measured]) -> bool:
        while not self._stopping.is_set():
            try:
                self._source.accept(measured)
            except BusyError:
                self._stopping.wait(_PATIENCE_S)
            else:
                return True
        return False


def measured_of(record: Record) -> Measured | None:
    """A record of another node as a reading; None when it is none."""
    source, values = record.body.get("source"), record.body.get("values")
    if not isinstance(source, str) or not isinstance(values, dict) or not values:
        return None
    prefix = f"{record.node}.{source}."
    return Measured({f"{prefix}{name}": value for name, value in values.items()}, record.time_ns)
