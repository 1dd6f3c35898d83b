"""Numbers of objects stay from picture to picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from edgewise.errors import MissingExtraError
from edgewise.pipeline.base import Frame, Observation
from edgewise.pipeline.transforms.track import Track, TrackSettings
from edgewise.testing.pipeline import picture
from edgewise.types import Box, Detection

BLANK = picture(width=640, height=480)


def at(x: float, y: float = 100, *, label: str = "person", score: float = 0.8) -> Detection:
    return Detection(Box(x, y, x + 40, y + 100), label, score)


class Street:
    """Plays objects through a tracker, ten pictures a second."""

    def __init__(self, **settings: Any) -> None:
        pytest.importorskip("similari")
        self.track = Track(TrackSettings(**settings))
        self.number = 0
        self.observation: Observation = Observation(Frame("street", 0, 0, BLANK))

    def see(self, *objects: Detection, still: bool = False) -> list[int]:
        self.number += 1
        frame = Frame("street", self.number, 10**18 + self.number * 10**8, BLANK)
        self.observation = self.track.apply(Observation(frame, objects=objects, still=still))
        assert [each.box for each in self.observation.objects] == [each.box for each in objects]
        return [each.track for each in self.observation.objects]

    def events(self) -> list[tuple[str, int]]:
        return [(event.kind, event.body["track"]) for event in self.observation.events]


def test_each_object_keeps_its_number_also_past_each_other_and_in_any_order() -> None:
    street = Street(needed=1)
    first = 0
    for step in range(60):
        there, back = at(50 + 8 * step), at(530 - 8 * step, 160)
        objects = [there, back] if step % 2 else [back, there]
        numbers = dict(zip(objects, street.see(*objects), strict=True))
        assert sorted(numbers.values()) == [1, 2]
        first = first or numbers[there]
        assert numbers[there] == first


def test_an_object_counts_once_it_was_seen_often_enough_and_once_clearly() -> None:
    street = Street(needed=3, min_score=0.5)
    seen = [street.see(at(100, score=score)) for score in (0.9, 0.4, 0.4, 0.4)]
    assert seen == [[0], [0], [1], [1]]
    assert [street.see(at(100), at(400, score=0.45)) for _ in range(5)] == [[1, 0]] * 5
    assert street.see(at(100), at(400, score=0.6)) == [1, 2]


def test_who_is_hidden_for_a_while_keeps_the_number_and_who_is_gone_loses_it() -> None:
    street = Street(needed=1, missed=10)
    for step in range(10):
        assert street.see(at(100 + 5 * step)) == [1]
    for _ in range(8):
        street.see()
    assert street.see(at(165)) == [1]
    for _ in range(12):
        street.see()
    assert street.see(at(195)) == [2]


def test_nobody_turns_into_a_car() -> None:
    street = Street(needed=1)
    assert street.see(at(100)) == [1]
    assert street.see(at(100, label="car")) == [2]
    assert street.see(at(100), at(102, label="car")) == [1, 2]


def test_only_the_labels_that_are_wanted_are_tracked() -> None:
    street = Street(needed=1, labels=("person",))
    assert street.see(at(100, label="car"), at(300)) == [0, 1]


def test_in_still_pictures_tracks_stay_as_they_are() -> None:
    """However long nothing moves: nobody is missing because nobody looked."""
    street = Street(needed=2, missed=5)
    street.see(at(100))
    assert street.see(at(100), at(300)) == [1, 0]
    for _ in range(50):
        assert street.see(at(100), at(300), still=True) == [1, 0], "nor is anybody seen more often"
    assert street.see(at(103), at(303)) == [1, 2]


def test_events_tell_who_came_and_who_left() -> None:
    street = Street(needed=2, missed=3, events=True)
    told = []
    scenes: Sequence[tuple[Detection, ...]] = [(at(100),), (at(101),), (at(102), at(400)), *[()] * 6]
    for objects in scenes:
        street.see(*objects)
        told.append(street.events())
    assert told == [[], [("object.appeared", 1)], [], [], [], [], [("object.left", 1)], [], []]
    assert street.observation.facts["track"] == {"present": 0, "total": 1}


def test_long_runs_remember_no_more_than_short_ones() -> None:
    street = Street(needed=1, missed=2)
    for step in range(2000):
        street.see(at(20 + 150 * (step % 4), 20 if step % 8 < 4 else 300))
    assert len(street.track._lives) <= 4


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "similari", None)
    with pytest.raises(MissingExtraError) as caught:
        Track(TrackSettings())
    assert caught.value.hint == "pip install 'edgewise[tracking]'"
