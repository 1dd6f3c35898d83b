"""Variables of a real OPC UA server: changes with their times, values of every kind, and what it does not have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.errors import UnavailableError
from edgewise.pipeline.sources.opcua import OpcUaSettings, OpcUaSource
from edgewise.testing.industry import OpcUaServer

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def server() -> Iterator[OpcUaServer]:
    """A boiler."""
    values = {
        "temperature": 61.5,
        "burning": True,
        "state": "on",
        "pumps": [1, 2],
        "since": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "hot": float("inf"),
        "raw": b"\x00\x01",
        "last": 0,
    }
    with OpcUaServer(values) as running:
        yield running


def source(server: OpcUaServer, *names: str, **settings: Any) -> OpcUaSource:
    nodes = {name: f"ns=2;s={name}" for name in names}
    wanted = {"kind": "opcua", "url": server.url, "nodes": nodes, "interval_s": 0.05}
    return OpcUaSource("boiler", msgspec.convert({**wanted, **settings}, OpcUaSettings), clock=CLOCK)


def test_present_values_come_first_and_then_every_change_with_its_time(server: OpcUaServer) -> None:
    heard = source(server, "temperature", "burning", "state")
    readings = heard.read()
    first = [reading.values for reading in islice(readings, 3)]
    assert sorted(first, key=str) == [{"burning": True}, {"state": "on"}, {"temperature": 61.5}]
    before = time.time_ns()
    server.write("temperature", 62.0, 62.5, 63.0)
    changes = list(islice(readings, 3))
    assert [reading.values for reading in changes] == [{"temperature": degrees} for degrees in (62.0, 62.5, 63.0)]
    assert [reading.number for reading in changes] == [4, 5, 6]
    assert before - 1_000 <= changes[0].time_ns <= changes[1].time_ns <= time.time_ns()
    heard.close()


def test_values_of_every_kind_become_numbers_words_or_are_counted(server: OpcUaServer) -> None:
    heard = source(server, "pumps", "since", "hot", "raw", "last")
    found: dict[str, Any] = {}
    for reading in islice(heard.read(), 4):
        found.update(reading.values)
    assert found == {"pumps.0": 1, "pumps.1": 2, "since": "2026-03-01T12:00:00+00:00", "hot": None, "last": 0}
    assert heard.unreadable == 1
    heard.close()


def test_a_variable_that_is_not_there_is_told_by_its_id(server: OpcUaServer) -> None:
    heard = source(server, "temperature", "pressure")
    with pytest.raises(UnavailableError, match="has no variable ns=2;s=pressure") as caught:
        list(heard.read())
    assert caught.value.hint


@pytest.mark.parametrize("wrong", [{"url": "opc.tcp://user:secret@x/"}, {"url": "http://x/"}, {"nodes": {"a": "b"}}])
def test_addresses_that_are_none_are_refused(wrong: Any) -> None:
    wanted = {"kind": "opcua", "url": "opc.tcp://x:4840/", "nodes": {"a": "ns=2;s=a"}}
    msgspec.convert(wanted, OpcUaSettings)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**wanted, **wrong}, OpcUaSettings)
