"""What the rules knew before a restart, from the journal: recent history, sequences under way, cooldowns, firings.

The records that the rules look back at are decided again, and what comes out is not acted on. What they did fire
stands in the ``decisions`` stream: when, for the cooldowns, and by which key, so that nothing fires twice.
"""

from __future__ import annotations

import contextlib
import heapq
import logging

from edgewise.journal.base import Journal
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Memory, RuleEngine, Situation
from edgewise.types import Record

# Records of a stream that are decided again at most: some seconds.
MAX_RECORDS = 200_000
_MAX_DECISIONS = 20_000
_PAGE = 1000
# A clock that was set back may have put the decisions of the last minutes into the future.
_AT_LEAST = 1000

logger = logging.getLogger(__name__)


def event_of(record: Record) -> Event:
    """A record of the journal as rules see it."""
    return Event(
        record.kind,
        str(record.body.get("source", "")),
        record.time_ns,
        record.body,
        record.blobs,
        sequence=record.sequence,
    )


def refresh(
    memory: Memory, rules: RuleEngine, *, journal: Journal, before: dict[str, int], situation: Situation
) -> None:
    """Fills a memory with what the rules look back at.

    Args:
        memory: A new one.
        rules: Whose it is.
        journal: Where records are.
        before: The first record of each stream that is not decided.
        situation: The present one; what rules read of devices and people is as it is now.
    """
    if not rules.horizon_ns:
        return
    since_ns = situation.now_ns - rules.horizon_ns
    streams = [_since(journal, stream, since_ns, before=first) for stream, first in before.items()]
    # Each stream in its own order, as it was decided; the streams by time.
    for record in heapq.merge(*streams, key=lambda record: record.time_ns):
        then = Situation(max(record.time_ns, 0), person=situation.person, devices=situation.devices)
        with contextlib.suppress(Exception):  # it was told when it happened
            rules.decide(event_of(record), then, memory)
    memory.fired.clear()


def firings(memory: Memory, rules: RuleEngine, *, journal: Journal, stream: str, now_ns: int) -> frozenset[str]:
    """Restores the cooldowns of a memory from the decisions; returns the keys of what fired."""
    since_ns = now_ns - max(rules.longest_cooldown_ns, rules.horizon_ns)
    keys: set[str] = set()
    before = 0
    while len(keys) < _MAX_DECISIONS and (page := journal.read(stream, before=before, limit=_PAGE, newest_first=True)):
        for record in page:
            _learn(record, memory, keys)
        before = page[-1].sequence
        if len(keys) >= _AT_LEAST and page[-1].time_ns < since_ns:
            break
    return frozenset(keys)


def _learn(record: Record, memory: Memory, keys: set[str]) -> None:
    if isinstance(key := record.body.get("key"), str) and "rule" in record.body:
        keys.add(key)
    cooldown = record.body.get("cooldown")
    if isinstance(cooldown, dict):
        mark = (str(record.body["rule"]), str(cooldown.get("source", "")), str(cooldown.get("person", "")))
        memory.fired.setdefault(mark, int(cooldown["fired_ns"]))  # the newest comes first


def _since(journal: Journal, stream: str, since_ns: int, *, before: int) -> list[Record]:
    found: list[Record] = []
    while len(found) < MAX_RECORDS and (page := journal.read(stream, before=before, limit=_PAGE, newest_first=True)):
        found += page
        before = page[-1].sequence
        if before <= 1 or page[-1].time_ns < since_ns:
            break
    if len(found) >= MAX_RECORDS:
        logger.warning("rules look further back than %d records of %s; they forget what is older", len(found), stream)
    return [record for record in reversed(found) if record.time_ns >= since_ns]
