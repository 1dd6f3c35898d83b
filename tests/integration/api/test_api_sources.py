"""Readings pushed over HTTP: what 202 promises, and what is said when it cannot be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

SETTINGS = """
http: {port: 0}
pipelines:
  boiler:
    source: {kind: readings, queue: 64}
  door:
    source: {kind: upload}
"""


@pytest.fixture(scope="module")
def boiler(start_api: Callable[..., Any]) -> Any:
    """A node with a source of pushed readings."""
    return start_api(SETTINGS)


def push(server: Any, body: object, *, name: str = "boiler") -> httpx.Response:
    return httpx.post(f"{server.address}/v1/sources/{name}/readings", json=body)


def kept(server: Any, count: int) -> list[dict[str, Any]]:
    """The newest readings of the journal, once the pipeline has worked on that many."""
    assert server.node.pipelines["boiler"].wait_next(count - 1, timeout_s=10) or count == 0
    reader = server.node.journal
    assert count == 0 or reader.wait("readings", after=count - 1, timeout_s=30) >= count
    records = reader.read("readings", limit=1000)
    return [{"time_ns": record.time_ns, **record.body} for record in records]


def test_one_reading_and_many_come_into_the_journal_with_their_times(boiler: Any) -> None:
    first = push(boiler, {"values": {"temperature": 61.5, "burning": True}, "time": "2026-03-01T12:00:00.25+01:00"})
    assert (first.status_code, first.json()) == (202, {"accepted": 1, "last": 1})
    many = push(boiler, [{"values": {"temperature": None}}, {"values": {"temperature": 62, "state": "on"}}])
    assert (many.status_code, many.json()) == (202, {"accepted": 2, "last": 3})
    records = kept(boiler, 3)
    assert [record["values"] for record in records] == [
        {"temperature": 61.5, "burning": True},
        {"temperature": None},
        {"temperature": 62, "state": "on"},
    ]
    assert records[0]["source"] == "boiler"
    assert records[0]["time_ns"] == 1_772_362_800_250_000_000
    assert records[1]["time_ns"] > records[0]["time_ns"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"values": {}},
        {"values": {"temperature": [1]}},
        {"values": {"": 1}},
        {"values": {"a": 2**70}},
        {"values": {"a": 1}, "time": "2026-03-01T12:00:00"},
        {"values": {"a": 1}, "time": "1960-03-01T12:00:00Z"},
        {"values": {"a": 1}, "at": 5},
        [{"values": {"a": 1}}, {"values": {"a": "x" * 1025}}],
        "61.5",
    ],
)
def test_what_is_no_reading_is_refused_whole(boiler: Any, body: object) -> None:
    before = boiler.node.pipelines["boiler"].state().frames
    answer = push(boiler, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert boiler.node.pipelines["boiler"].state().frames == before


def test_more_than_may_wait_is_refused_with_the_bound(boiler: Any) -> None:
    answer = push(boiler, [{"values": {"a": 1}}] * 65)
    assert answer.status_code == 413
    assert answer.json()["error"]["facts"] == {"limit": 64, "actual": 65}


def test_a_source_that_takes_no_readings_and_one_that_is_not_there_are_told(boiler: Any) -> None:
    assert push(boiler, {"values": {"a": 1}}, name="door").status_code == 409
    assert push(boiler, {"values": {"a": 1}}, name="cellar").status_code == 404
