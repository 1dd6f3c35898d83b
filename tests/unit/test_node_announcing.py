"""What Home Assistant is told that there is: once, to the end, and out again whatever breaks off in between."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.node.announcing import Announcements
from edgewise.node.discovery import Describer, Entity, HomeAssistantSettings

DESCRIBER = Describer(HomeAssistantSettings(), node="home", base="edgewise/edgewise-home")
READINGS = DESCRIBER.channel_topic("boiler", "")


def lasts(states: Collection[str]) -> bool:
    return any(state.startswith(READINGS) for state in states)


def nothing_lasts(_: Collection[str]) -> bool:
    return False


class Shelf:
    """A broker that keeps what it is told, unless the connection is about to break."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.heard: list[str] = []
        self.takes = 1 << 30

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 0) -> bool:
        self.takes -= 1
        if self.takes >= 0:
            self.heard.append(topic)
            self.retained[topic] = payload
            if not payload:
                del self.retained[topic]
        return True  # it was put on its way

    def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        self.publish(topic, payload, retain=retain)
        return self.takes >= 0

    def told(self) -> set[str]:
        return {topic for topic in self.retained if topic.endswith("/config")}

    def news(self) -> list[str]:
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def pipeline(name: str, *kinds: str) -> Entity:
    return DESCRIBER.events(name, kinds)


def channel(value: object) -> Entity:
    return DESCRIBER.channel("boiler", "valve", binary=isinstance(value, bool), number=isinstance(value, float))


def test_only_what_is_new_or_another_is_told_and_what_is_gone_is_taken_out(shelf: Shelf, tmp_path: Path) -> None:
    announcements = Announcements(shelf, tmp_path / "told.json")
    porch, yard = pipeline("porch"), pipeline("yard")
    assert announcements.tell([porch], lasts=lasts, again=True)
    shelf.retained[porch.states[0]] = b"seen"
    assert shelf.news() == [porch.topic]
    assert announcements.tell([porch, yard], lasts=lasts, again=False)
    assert shelf.news() == [yard.topic]
    changed = pipeline("yard", "parcel.left")
    assert announcements.tell([changed], lasts=lasts, again=False)
    assert shelf.news() == [yard.topic, porch.topic, *porch.states]
    assert shelf.told() == shelf.retained.keys() == {yard.topic}
    assert announcements.tell([changed], lasts=lasts, again=True)
    assert shelf.news() == [yard.topic]


def test_what_an_earlier_process_told_is_taken_out_but_for_channels_that_may_speak_again(
    shelf: Shelf, tmp_path: Path
) -> None:
    memory = tmp_path / "told.json"
    before = Announcements(shelf, memory)
    before.tell([pipeline("porch")], lasts=lasts, again=True)
    before.add(channel(1.0))
    shelf.retained[channel(1.0).states[0]] = b"1.0"
    assert Announcements(shelf, memory).tell([], lasts=lasts, again=True)
    assert shelf.told() == {channel(1.0).topic}
    assert Announcements(shelf, memory).tell([], lasts=nothing_lasts, again=True)
    assert (shelf.retained, memory.exists()) == ({}, False)


def test_a_channel_that_becomes_another_kind_is_there_once_and_keeps_its_value(shelf: Shelf, tmp_path: Path) -> None:
    announcements = Announcements(shelf, tmp_path / "told.json")
    announcements.add(channel(1.0))
    shelf.retained[channel(1.0).states[0]] = b"1.0"
    announcements.add(channel(True))
    assert shelf.retained.keys() == {channel(True).topic, channel(True).states[0]}


def test_what_the_broker_does_not_take_is_taken_out_later(shelf: Shelf, tmp_path: Path) -> None:
    memory = tmp_path / "told.json"
    announcements = Announcements(shelf, memory)
    announcements.tell([pipeline("porch"), pipeline("yard")], lasts=lasts, again=True)
    shelf.takes = 0
    assert not announcements.tell([], lasts=lasts, again=False)
    assert len(msgspec.json.decode(memory.read_bytes())) == 2
    shelf.takes = 1 << 30
    assert announcements.tell([], lasts=lasts, again=False)
    assert shelf.told() == set()


def test_a_damaged_memory_is_as_none(shelf: Shelf, tmp_path: Path) -> None:
    memory = tmp_path / "told.json"
    memory.write_bytes(b"{")
    assert Announcements(shelf, memory).tell([pipeline("porch")], lasts=lasts, again=True)
    assert msgspec.json.decode(memory.read_bytes()) == {pipeline("porch").topic: pipeline("porch").states}


tells = st.tuples(st.frozensets(st.sampled_from("abc")), st.integers(0, 12), st.booleans())


@given(st.lists(tells, max_size=6), st.frozensets(st.sampled_from("abc")))
def test_whatever_breaks_off_nothing_is_left_that_nobody_knows_of(
    before: list[tuple[frozenset[str], int, bool]], last: frozenset[str]
) -> None:
    shelf = Shelf()
    with TemporaryDirectory() as folder:
        memory = Path(folder, "told.json")
        announcements = Announcements(shelf, memory)
        for names, takes, starts_anew in before:
            shelf.takes = takes
            announcements.tell([pipeline(name) for name in sorted(names)], lasts=lasts, again=True)
            if starts_anew:
                announcements = Announcements(shelf, memory)
        shelf.takes = 1 << 30
        assert announcements.tell([pipeline(name) for name in sorted(last)], lasts=lasts, again=True)
        assert shelf.told() == {pipeline(name).topic for name in last}
