"""Alarms: one record for each time a rule raises one, whatever became of it, and none twice."""

from __future__ import annotations

import time
from collections.abc import Callable
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


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(node="home", streams={"alarms": StreamSettings(), "decisions": StreamSettings()})


def run(journal: MemoryJournal, until: Callable[[], bool]) -> None:
    alarms = Alarms(journal, devices=["siren"], clock=SystemClock())
    alarms.start()
    deadline = time.monotonic() + 30
    while not until() and time.monotonic() < deadline:
        time.sleep(0.01)
    alarms.stop()
    assert until()


def bodies(journal: MemoryJournal) -> list[dict[str, Any]]:
    return [record.body for record in journal.read("alarms")]


def test_a_raised_alarm_has_a_record_of_its_own_with_its_picture(journal: MemoryJournal) -> None:
    journal.append("decisions", [decision(command("siren", "raise", message="stranger at the door"))])
    run(journal, lambda: len(bodies(journal)) == 1)
    [record] = journal.read("alarms")
    assert (record.kind, record.blobs) == ("alarm.raised", (PICTURE,))
    assert record.body["message"] == "stranger at the door"
    assert (record.body["device"], record.body["source"], record.body["decision"]) == ("siren", "door", 1)


def test_a_siren_that_does_not_answer_is_told_all_the_more(journal: MemoryJournal) -> None:
    journal.append("decisions", [decision(command("siren", "raise", "failed"))])
    run(journal, lambda: len(bodies(journal)) == 1)
    assert bodies(journal)[0]["status"] == "failed"


def test_nothing_else_is_an_alarm(journal: MemoryJournal) -> None:
    journal.append(
        "decisions",
        [decision(command("siren", "clear"), command("light", "raise")), Entry("device.command", {"device": "siren"})],
    )
    journal.append("decisions", [decision(command("siren", "raise"), source="yard")])
    run(journal, lambda: bool(bodies(journal)))
    assert [body["source"] for body in bodies(journal)] == ["yard"]


def test_what_was_told_before_a_crash_is_not_told_again(journal: MemoryJournal) -> None:
    journal.append("decisions", [decision(command("siren", "raise"))])
    journal.append("alarms", [Entry("alarm.raised", {"decision": 1, "device": "siren"})])  # told, not acknowledged
    journal.append("decisions", [decision(command("siren", "raise"))])
    run(journal, lambda: len(bodies(journal)) == 2)
    assert [body["decision"] for body in bodies(journal)] == [1, 2]
