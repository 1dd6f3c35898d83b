"""Readings of the nodes below come to a pipeline in their order, each named by where it is from."""

from __future__ import annotations

import itertools
import threading

from edgewise._lib.clock import SystemClock
from edgewise.journal.base import Batch, Packed, StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.journal.packed import pack
from edgewise.node.gathering import Gathering, measured_of
from edgewise.pipeline.sources.below import BelowSettings, BelowSource
from edgewise.types import Entry, Record


def batch_of(node: str, first: int, *values: float) -> Batch:
    entries = [
        Entry("reading", {"source": "boiler", "values": {"t": value}}, time_ns=first + number)
        for number, value in enumerate(values)
    ]
    return Batch(node, "readings", (Packed(first, first + len(values) - 1, pack(entries)),))


def gateway() -> MemoryJournal:
    return MemoryJournal(node="gateway", streams={"readings": StreamSettings()})


def gathered(journal: MemoryJournal, count: int, *, nodes: tuple[str, ...] = (), queue: int = 100) -> list[dict]:
    source = BelowSource("hall", BelowSettings(nodes=nodes, queue=queue), clock=SystemClock())
    gathering = Gathering(journal, source, node="gateway")
    gathering.start()
    timer = threading.Timer(30, source.close)
    timer.start()
    found = [dict(reading.values) for reading in itertools.islice(source.read(), count)]
    timer.cancel()
    gathering.stop()
    return found


def test_they_come_in_order_named_by_node_and_source() -> None:
    journal = gateway()
    journal.append("readings", [Entry("reading", {"source": "own", "values": {"t": 9.0}})])
    journal.take([batch_of("door", 1, 1.0, 2.0)])
    assert gathered(journal, 2) == [{"door.boiler.t": 1.0}, {"door.boiler.t": 2.0}]
    journal.take([batch_of("door", 3, 3.0)])
    assert gathered(journal, 1) == [{"door.boiler.t": 3.0}]  # it goes on where it ended


def test_only_the_nodes_that_were_named() -> None:
    journal = gateway()
    journal.take([batch_of("door", 1, 1.0), batch_of("lamp", 1, 5.0)])
    assert gathered(journal, 1, nodes=("lamp",)) == [{"lamp.boiler.t": 5.0}]


def test_more_than_a_queue_holds_waits_in_the_journal() -> None:
    journal = gateway()
    journal.take([batch_of("door", 1, *map(float, range(1000)))])
    assert [each["door.boiler.t"] for each in gathered(journal, 1000, queue=10)] == list(map(float, range(1000)))


def test_what_is_no_reading_is_passed_over() -> None:
    for body in ({}, {"source": 1, "values": {"t": 1}}, {"source": "s", "values": []}, {"source": "s", "values": {}}):
        assert measured_of(Record("n", "readings", 1, 1, "k", body)) is None
