"""A full disk delays what was seen and done; it does not lose it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from edgewise.errors import StorageFullError
from edgewise.journal.base import StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.node.patience import append_patiently
from edgewise.pipeline.backoff import Backoff
from edgewise.types import Entry

SEEN = [Entry("face.known", {"name": "Ada"})]


class FullFor(MemoryJournal):
    """A journal whose disk is full for its first ``count`` appends."""

    def __init__(self, count: int) -> None:
        super().__init__(node="home", streams={"events": StreamSettings()})
        self.refusals = count

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        if self.refusals:
            self.refusals -= 1
            raise StorageFullError("No space left")
        return super().append(stream, entries)


class Soon(Backoff):
    def next(self) -> float:
        return 0.0


def test_what_was_seen_while_the_disk_was_full_is_written_once_it_is_not() -> None:
    journal = FullFor(3)
    append_patiently(journal, "events", SEEN, stopped=threading.Event(), backoff=Soon())
    assert [record.body["name"] for record in journal.read("events")] == ["Ada"]


def test_a_node_that_stops_does_not_wait_for_the_disk() -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(StorageFullError):
        append_patiently(FullFor(1), "events", SEEN, stopped=stopped)
