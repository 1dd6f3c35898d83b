"""Rules over HTTP: those in force, and any on what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from edgewise.pipeline.base import Event

RULE = {
    "name": "often",
    "on": "face.unknown",
    "when": 'count("face.unknown", "10m") >= 2',
    "do": [{"device": "lamp", "command": "turn_on"}],
}


@pytest.fixture(scope="module")
def own(start_api: Callable[..., Any]) -> Any:
    """A server that these tests may change."""
    return start_api()


def record(at: str, **fields: Any) -> dict[str, Any]:
    return {"time": f"2026-11-21T{at}Z", "kind": "face.unknown", "source": "door", **fields}


def test_rules_are_tried_on_given_records(http: httpx.Client) -> None:
    body = {"rules": [RULE], "records": [record("18:00:00"), record("18:05:00"), record("18:30:00")]}
    answer = http.post("/v1/rules/test", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["right"] is True
    assert [(each["time"], each["why"]) for each in told["report"]["fired"]] == [
        ("2026-11-21T18:05:00Z", {'count("face.unknown", "10m")': 2})
    ]


def test_what_was_expected_is_compared(http: httpx.Client) -> None:
    body = {"rules": [RULE], "records": [record("18:00:00")], "expect": {"fired": [{"rule": "often"}]}}
    told = http.post("/v1/rules/test", json=body).json()
    assert (told["right"], told["difference"]["missing"][0]["rule"]) == (False, "often")


def test_rules_are_tried_on_the_nodes_own_journal(own: Any) -> None:
    for _ in range(2):
        own.node.accept(Event("face.unknown", "door", own.node.clock.time_ns(), {}))
    told = httpx.post(f"{own.address}/v1/rules/test", json={"rules": [RULE]}, timeout=20).json()
    assert told["report"]["counts"] == {"often": 1}


def test_a_wrong_rule_and_too_many_records_are_refused(http: httpx.Client) -> None:
    wrong = http.post("/v1/rules/test", json={"rules": [{**RULE, "when": "cuont('a', '1m') > 1"}]})
    assert wrong.status_code == 400
    assert "Did you mean 'count'?" in wrong.text
    many = http.post("/v1/rules/test", json={"rules": [RULE], "records": [{"time_ns": 1}] * 50_001})
    assert many.status_code == 400


def test_the_rules_in_force_are_listed(http: httpx.Client) -> None:
    assert http.get("/v1/rules").json() == {
        "rules": [],
        "location": {"latitude": None, "longitude": None, "timezone": "UTC"},
    }
