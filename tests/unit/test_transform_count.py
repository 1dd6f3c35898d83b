"""Counting over lines and in zones, and watching who stays: told by walks through a picture of 100 x 100."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.pipeline.base import Frame, Observation, Reading
from edgewise.pipeline.places import Line
from edgewise.pipeline.transforms.count import Count, CountSettings
from edgewise.pipeline.transforms.dwell import Dwell, DwellSettings
from edgewise.testing.pipeline import picture
from edgewise.types import Box, Detection

BLANK = picture(width=100, height=100)
GATE = Line((0.2, 0.5), (0.8, 0.5))
SQUARE = ((0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7))
START_NS = 1_700_000_000 * 10**9  # a whole multiple of ten seconds

place = st.tuples(st.integers(0, 100), st.integers(0, 100))
walks = st.lists(place, min_size=1, max_size=30)


def standing(x: float, y: float, track: int = 1, label: str = "person") -> Detection:
    return Detection(Box(x - 5, y - 20, x + 5, y), label, 0.8, track=track)


class Scene:
    """Plays objects through a transform, a picture each ``step_s``."""

    def __init__(self, transform: Count | Dwell, *, step_s: float = 0.1) -> None:
        self.transform = transform
        self.step_ns = int(step_s * 1e9)
        self.number = 0
        self.told: list[tuple[str, str, int]] = []
        self.readings: list[Reading] = []
        self.facts: dict[str, Any] = {}

    def see(self, *objects: Detection, still: bool = False) -> None:
        time_ns = START_NS + self.number * self.step_ns
        self.number += 1
        frame = Frame("yard", self.number, time_ns, BLANK)
        observation = self.transform.apply(Observation(frame, objects=objects, still=still))
        for event in observation.events:
            assert (event.source, event.time_ns) == ("yard", time_ns)
            where = event.body["direction"] if event.kind == "line.crossed" else event.body["zone"]
            self.told.append((event.kind, where, event.body["track"]))
        self.readings += observation.readings
        self.facts = observation.facts[self.transform.name]


def counting(**settings: Any) -> Scene:
    return Scene(Count(CountSettings(**settings)))


def over_the_gate(scene: Scene, label: str = "person") -> tuple[int, int]:
    tally = scene.facts["lines"]["gate"].get(label, {"forward": 0, "backward": 0})
    return tally["forward"], tally["backward"]


def test_walking_over_a_line_and_back_counts_once_each_way() -> None:
    scene = counting(lines={"gate": GATE}, events=True)
    for y in [*range(30, 71, 4), *range(70, 29, -4)]:
        scene.see(standing(50, y))
    assert over_the_gate(scene) == (1, 1)
    assert scene.told == [("line.crossed", "forward", 1), ("line.crossed", "backward", 1)]


def test_a_box_that_trembles_on_the_line_is_not_counted_again_and_again() -> None:
    scene = counting(lines={"gate": GATE}, margin=0.02)
    for y in (30, 47, *[49.2, 50.8] * 20, 53, *[49, 51] * 20, 60):
        scene.see(standing(50, y))
    assert over_the_gate(scene) == (1, 0)


def test_a_line_ends_where_it_ends() -> None:
    scene = counting(lines={"gate": GATE})
    for y in range(30, 71, 4):
        scene.see(standing(10, y))
    assert over_the_gate(scene) == (0, 0)


def test_a_slow_walk_is_counted_as_a_fast_one_is() -> None:
    for step in (0.3, 1.0, 40.0):
        scene = counting(lines={"gate": GATE})
        y = 30.0
        while y <= 70:
            scene.see(standing(50, y))
            y += step
        assert over_the_gate(scene) == (1, 0)


def test_labels_are_counted_apart_and_others_not_at_all() -> None:
    scene = counting(lines={"gate": GATE}, labels=("person", "car"))
    for y in (40, 60):
        scene.see(standing(40, y), standing(50, y, 2, "car"), standing(60, y, 3, "dog"), standing(70, y, 0))
    assert over_the_gate(scene) == (1, 0)
    assert over_the_gate(scene, "car") == (1, 0)
    assert set(scene.facts["lines"]["gate"]) == {"person", "car"}


@given(walks)
def test_the_way_back_counts_the_other_way_round(walk: list[tuple[int, int]]) -> None:
    there, back = (counting(lines={"gate": GATE}, margin=0) for _ in range(2))
    for x, y in walk:
        there.see(standing(x, y))
    for x, y in reversed(walk):
        back.see(standing(x, y))
    assert over_the_gate(there) == over_the_gate(back)[::-1]


@given(st.lists(st.dictionaries(st.integers(1, 5), place, max_size=5), max_size=60), st.lists(st.booleans()))
def test_counts_are_never_negative_and_add_up(scenes: list[dict[int, tuple[int, int]]], still: list[bool]) -> None:
    scene = counting(lines={"gate": GATE}, zones={"square": SQUARE}, absent_s=0.3, every_s=1)
    for number, objects in enumerate(scenes):
        those = [standing(x, y, track) for track, (x, y) in objects.items()]
        scene.see(*those, still=number < len(still) and still[number])
        for tally in scene.facts["zones"]["square"].values():
            assert tally["inside"] == tally["entered"] - tally["left"]
            assert 0 <= tally["inside"] == len(scene.transform._stays["square"])  # type: ignore[union-attr]
    assert all(value >= 0 for reading in scene.readings for value in reading.values.values())


def test_who_comes_goes_and_is_inside() -> None:
    scene = counting(zones={"square": SQUARE}, absent_s=0.25)
    figures = []
    for objects in (
        [(50, 50, 1)],
        [(50, 50, 1), (60, 60, 2)],
        [(50, 50, 1)],  # the second one is out of sight for a picture
        [(50, 50, 1), (60, 60, 2)],
        *[[(90, 90, 1), (60, 60, 2)]] * 3,
        *[[]] * 4,
    ):
        scene.see(*(standing(*each) for each in objects))
        figures.append(tuple(scene.facts["zones"]["square"]["person"].values()))
    came, both, one, none = (1, 0, 1), (2, 0, 2), (2, 1, 1), (2, 2, 0)
    assert figures == [came, *[both] * 5, *[one] * 3, *[none] * 2]


def test_while_nothing_moves_nobody_leaves() -> None:
    scene = counting(zones={"square": SQUARE}, absent_s=0.25)
    scene.see(standing(50, 50))
    for _ in range(50):
        scene.see(still=True)
    assert scene.facts["zones"]["square"]["person"]["inside"] == 1
    for _ in range(4):
        scene.see()
    assert scene.facts["zones"]["square"]["person"]["inside"] == 0


def test_readings_hold_what_came_in_each_interval() -> None:
    """Two cross in the first ten seconds, none in the next, one in the third; the fourth has not ended."""
    scene = Scene(Count(CountSettings(lines={"gate": GATE}, zones={"all": SQUARE}, labels=("person",), every_s=10)))
    for tenth in range(350):
        y = {10: 60, 20: 40, 250: 60}.get(tenth, 60 if 10 < tenth < 20 or tenth > 250 else 40)
        scene.see(standing(50, y))
    assert [(reading.source, reading.number, reading.time_ns) for reading in scene.readings] == [
        ("yard", number, START_NS + number * 10**10) for number in (1, 2, 3)
    ]
    assert [reading.values["gate.person.forward"] for reading in scene.readings] == [1, 0, 1]
    assert [reading.values["gate.person.backward"] for reading in scene.readings] == [1, 0, 0]
    assert [reading.values["all.person.entered"] for reading in scene.readings] == [1, 0, 0]
    assert [reading.values["all.person.inside"] for reading in scene.readings] == [1, 1, 1]


def test_what_is_in_no_picture_any_more_is_forgotten() -> None:
    scene = Scene(Count(CountSettings(lines={"gate": GATE})), step_s=1)
    for number in range(500):
        scene.see(standing(50, 40, number + 1))
    assert isinstance(scene.transform, Count)
    assert len(scene.transform._sides["gate"]) <= 61


def watching(**settings: Any) -> Scene:
    return Scene(Dwell(DwellSettings(zones={"yard": SQUARE}, **settings)))


def test_who_stays_too_long_is_told_of_once_a_stay() -> None:
    scene = watching(loiter_s=2, absent_s=0.5)
    for x in [*[50] * 40, *[90] * 10, *[50] * 25]:
        scene.see(standing(x, 50))
    assert scene.told == [
        ("zone.entered", "yard", 1),
        ("object.loitering", "yard", 1),
        ("zone.left", "yard", 1),
        ("zone.entered", "yard", 1),
        ("object.loitering", "yard", 1),
    ]
    assert scene.facts == {"yard": [{"label": "person", "track": 1, "seconds": 2.4}]}


def test_who_walks_through_does_not_loiter_and_each_has_a_time_of_their_own() -> None:
    scene = watching(loiter_s=2)
    for tenth in range(30):
        other = standing(35 + 15 * (tenth // 10), 65, 2 + tenth // 10)
        scene.see(standing(50, 40, 1), other)
    assert [(kind, track) for kind, _, track in scene.told if kind == "object.loitering"] == [("object.loitering", 1)]


def test_who_stands_still_loiters_although_nothing_is_looked_at() -> None:
    scene = watching(loiter_s=2, absent_s=0.5)
    scene.see(standing(50, 50))
    for _ in range(30):
        scene.see(still=True)
    assert scene.told == [("zone.entered", "yard", 1), ("object.loitering", "yard", 1)]


def test_who_is_lost_behind_a_post_and_comes_out_with_another_number_has_not_left() -> None:
    scene = watching(loiter_s=2, absent_s=1)
    for tenth in range(30):
        if not 10 <= tenth < 15:
            scene.see(standing(45 + tenth / 5, 50, 1 if tenth < 10 else 9))
        else:
            scene.see()
    assert scene.told == [("zone.entered", "yard", 1), ("object.loitering", "yard", 9)]
    for _ in range(12):
        scene.see()
    assert scene.told[2:] == [("zone.left", "yard", 9)]
    scene.see(standing(50, 50, 1))
    assert scene.told[3:] == [("zone.entered", "yard", 1)]


def test_a_number_that_comes_back_after_another_went_on_with_its_stay_has_come_anew() -> None:
    scene = counting(zones={"square": SQUARE}, absent_s=1)
    scene.see(standing(45, 50, 1))
    scene.see(standing(46, 50, 2))
    scene.see(standing(46, 50, 2), standing(65, 50, 1))
    assert scene.facts["zones"]["square"]["person"] == {"entered": 2, "left": 0, "inside": 2}
    for _ in range(12):
        scene.see()
    assert scene.facts["zones"]["square"]["person"] == {"entered": 2, "left": 2, "inside": 0}


def test_who_comes_while_another_is_seen_elsewhere_or_is_of_another_kind_has_come() -> None:
    scene = watching(loiter_s=60, absent_s=1)
    scene.see(standing(50, 50, 1), standing(60, 60, 2, "dog"))
    scene.see(standing(95, 95, 1), standing(50, 50, 3), standing(60, 60, 4))
    entered = [track for kind, _, track in scene.told if kind == "zone.entered"]
    assert entered == [1, 2, 3, 4]


def test_of_two_that_were_lost_each_new_one_goes_on_with_the_nearest() -> None:
    scene = counting(zones={"square": SQUARE}, absent_s=1)
    scene.see(standing(45, 50, 1), standing(51, 50, 2))
    scene.see()
    scene.see(standing(50, 50, 7), standing(46, 50, 8), standing(65, 69, 9))
    stays = scene.transform._stays["square"]
    assert {track: stay.first for track, stay in stays.items()} == {7: 2, 8: 1, 9: 9}
    assert scene.facts["zones"]["square"]["person"] == {"entered": 3, "left": 0, "inside": 3}


def test_places_that_make_no_sense_are_refused() -> None:
    for wrong in (
        {},
        {"lines": {"a": [[0, 0], [1, 1]]}, "zones": {"a": [[0, 0], [1, 1], [1, 0]]}},
        {"lines": {"Über uns": [[0, 0], [1, 1]]}},
        {"lines": {"a": [[0, 0], [1, 1.01]]}},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"kind": "count", **wrong}, CountSettings)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "dwell", "zones": {}}, DwellSettings)
