"""Alarms: one record for each time a rule raises one, whatever became of it, and none twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from edgewise._lib.clock import SystemClock
from edgewise.journal.base import StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.node.alarms import Alarms
from edgewise.types import Entry

PICTURE = "ab" * 32


def decision(*actions: dict[str, Any], source: str = "door") -> Entry:
    body = {"rule": "stranger", "event": {"source": source, "sequence": 7}, "actions": list(actions)}
    return Entry("decision.done", body, (PICTURE,))


def command(device: str, command: str, status: str = "done", **arguments: Any) -> dict[str, Any]:
    return {"device": device, "command": command, "arguments": arguments, "status": status}


class Sleepy(MemoryJournal):
    """Wakes those who wait for news only when it is closed."""

    def __init__(self) -> None:
        super().__init__(node="home", streams={"alarms": StreamSettings(), "decisions": StreamSettings()})
        self.slept = threading.Event()

    def wait(self, stream: str, *, after: int, timeout_s: float) -> int:
        self.slept.set()
        return super().wait(stream, after=after + 10**6, timeout_s=600)


@pytest.fixture
def journal() -> Sleepy:
    return Sleepy()


@pytest.fixture
def alarms(journal: Sleepy) -> Iterator[Alarms]:
    alarms = Alarms(journal, devices=["siren"], clock=SystemClock())
    yield alarms
    alarms.stop()
    journal.close()
    alarms.join()


def run(alarms: Alarms, journal: Sleepy) -> None:
    """Until there is nothing to tell."""
    alarms.start()
    assert journal.slept.wait(30)


def bodies(journal: Sleepy) -> list[dict[str, Any]]:
    return [record.body for record in journal.read("alarms")]


def test_a_raised_alarm_has_a_record_of_its_own_with_its_picture(journal: Sleepy, alarms: Alarms) -> None:
    journal.append("decisions", [decision(command("siren", "raise", message="stranger at the door"))])
    run(alarms, journal)
    [record] = journal.read("alarms")
    assert (record.kind, record.blobs) == ("alarm.raised", (PICTURE,))
    assert record.body["message"] == "stranger at the door"
    assert (record.body["device"], record.body["source"], record.body["decision"]) == ("siren", "door", 1)


def test_a_siren_that_does_not_answer_is_told_all_the_more(journal: Sleepy, alarms: Alarms) -> None:
    journal.append("decisions", [decision(command("siren", "raise", "failed"))])
    run(alarms, journal)
    assert bodies(journal)[0]["status"] == "failed"


def test_nothing_else_is_an_alarm(journal: Sleepy, alarms: Alarms) -> None:
    journal.append(
        "decisions",
        [decision(command("siren", "clear"), command("light", "raise")), Entry("device.command", {"device": "siren"})],
    )
    journal.append("decisions", [decision(command("siren", "raise"), source="yard")])
    run(alarms, journal)
    assert [body["source"] for body in bodies(journal)] == ["yard"]


def test_what_was_told_before_a_crash_is_not_told_again(journal: Sleepy, alarms: Alarms) -> None:
    journal.append("decisions", [decision(command("siren", "raise"))])
    journal.append("alarms", [Entry("alarm.raised", {"decision": 1, "device": "siren"})])  # told, not acknowledged
    journal.append("decisions", [decision(command("siren", "raise"))])
    run(alarms, journal)
    assert [body["decision"] for body in bodies(journal)] == [1, 2]


@pytest.mark.timeout(30)
def test_a_node_that_stops_tells_the_last_decision_and_waits_for_no_other(journal: Sleepy, alarms: Alarms) -> None:
    run(alarms, journal)
    journal.append("decisions", [decision(command("siren", "raise"))])
    alarms.stop()
    assert [body["decision"] for body in bodies(journal)] == [1]
