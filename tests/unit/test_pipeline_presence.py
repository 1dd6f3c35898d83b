"""Presence: one event per visit, and one bad frame changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.pipeline.transforms.presence import Announcement, PresenceSettings, PresenceState, rest, step
from edgewise.types import Box, Detection

SECOND = 1_000_000_000
FRAME_NS = SECOND // 10
SETTINGS = PresenceSettings(needed=3, window=5, unknown_needed=4, absent_s=2.0)


def face(name: str = "", *, x: float = 100.0, similarity: float = 0.7) -> Detection:
    return Detection(Box(x, 50, x + 80, 150), "face", 0.9, name=name, similarity=similarity if name else 0.0)


class Walk:
    """Shows frames ten times a second and collects what is announced."""

    def __init__(self, settings: PresenceSettings = SETTINGS) -> None:
        self.settings = settings
        self.state = PresenceState()
        self.time_ns = 0
        self.announced: list[Announcement] = []

    def stand_still(self, *, times: int) -> None:
        for _ in range(times):
            self.state = rest(self.state, time_ns=self.time_ns)
            self.time_ns += FRAME_NS

    def show(self, *faces: Detection, times: int = 1) -> list[str]:
        before = len(self.announced)
        for _ in range(times):
            self.state, new = step(self.settings, self.state, faces, time_ns=self.time_ns)
            self.announced += new
            self.time_ns += FRAME_NS
        return [announcement.name for announcement in self.announced[before:]]


def test_somebody_is_announced_once_after_enough_frames() -> None:
    walk = Walk()
    assert walk.show(face("Ada"), times=2) == []
    assert walk.show(face("Ada", similarity=0.4)) == ["Ada"]
    assert walk.show(face("Ada"), times=50) == []
    assert walk.announced[0].similarity == pytest.approx(0.6)
    assert walk.announced[0].frames == 3


def test_one_frame_that_looks_like_somebody_does_not_open_the_door() -> None:
    walk = Walk()
    assert walk.show(face(), times=2) + walk.show(face("Ada")) + walk.show(face(), times=1) == []
    assert walk.show(face(), times=10) == [""]


def test_a_face_that_matches_two_people_is_nobody_until_it_is_consistent() -> None:
    walk = Walk()
    assert walk.show(face("Ada"), face("Eve", x=400), times=2) == []
    for _ in range(4):
        assert walk.show(face("Bob")) + walk.show(face("Ada"), times=2) == []
    assert walk.show(face("Ada"), times=3) == ["Ada"]


def test_a_blurred_frame_of_somebody_known_is_no_stranger() -> None:
    walk = Walk()
    walk.show(face("Ada"), times=3)
    assert walk.show(face(), times=11) + walk.show(face("Ada")) + walk.show(face(), times=11) == []


def test_who_takes_the_place_of_somebody_known_without_a_gap_is_a_stranger_after_three_times_as_long() -> None:
    walk = Walk()
    walk.show(face("Ada"), times=3)
    assert walk.show(face(), times=11) == []
    assert walk.show(face()) == [""]


def test_a_new_visit_is_announced_again_only_after_the_absence() -> None:
    walk = Walk()
    assert walk.show(face("Ada"), times=3) == ["Ada"]
    walk.show(times=15)
    assert walk.show(face("Ada"), times=3) == []
    walk.show(times=25)
    assert walk.show(face("Ada"), times=3) == ["Ada"]


def test_who_stands_still_stays_and_is_not_known_better_for_it() -> None:
    """One frame that looks like somebody is one frame, however long nothing moves."""
    walk = Walk()
    walk.show(face("Ada"))
    walk.stand_still(times=100)
    assert walk.show(face("Ada")) == []
    assert walk.show(face("Ada")) == ["Ada"]
    walk.stand_still(times=100)
    assert walk.show(face("Ada"), times=3) == [], "she was there all the time"


def test_who_left_before_all_was_still_has_left() -> None:
    walk = Walk()
    walk.show(face("Ada"), times=3)
    walk.show()
    walk.stand_still(times=30)
    assert walk.show(face("Ada"), times=3) == ["Ada"]


def test_without_an_absence_every_sighting_is_a_visit_but_nobody_is_announced_unseen() -> None:
    walk = Walk(PresenceSettings(needed=1, absent_s=0))
    assert walk.show(face("Ada"), times=2) == ["Ada", "Ada"]
    assert walk.show(times=3) == []


def test_a_known_person_and_a_stranger_side_by_side_are_both_announced() -> None:
    walk = Walk()
    assert sorted(walk.show(face("Ada"), face(x=300), times=4)) == ["", "Ada"]


def test_the_place_a_known_person_left_can_be_a_strangers_after_a_while() -> None:
    walk = Walk()
    walk.show(face("Ada"), times=3)
    walk.show(times=6)
    assert walk.show(face(), times=4) == [""]


def test_a_face_that_moves_is_followed() -> None:
    walk = Walk()
    names = [name for i in range(6) for name in walk.show(face("Ada", x=100 + 30 * i))]
    assert names == ["Ada"]
    assert len(walk.state.tracks) == 1


def test_a_clock_set_back_starts_over_instead_of_waiting_for_it() -> None:
    walk = Walk()
    assert walk.show(face("Ada"), times=3) == ["Ada"]
    walk.time_ns -= 3600 * SECOND
    assert walk.show(face("Ada"), times=3) == ["Ada"]


frames = st.lists(
    st.lists(st.tuples(st.sampled_from(["", "Ada", "Bob"]), st.integers(0, 6)), max_size=3), min_size=1, max_size=40
)


@given(frames)
def test_nobody_is_announced_who_did_not_match_in_enough_of_the_recent_frames(
    shown: list[list[tuple[str, int]]],
) -> None:
    walk = Walk()
    for index, people in enumerate(shown):
        for name in walk.show(*(face(name, x=60.0 * place) for name, place in people)):
            recent = [any(who == name for who, _ in frame) for frame in shown[: index + 1]]
            assert sum(recent) >= (SETTINGS.needed if name else SETTINGS.unknown_needed)
        assert len(walk.state.tracks) <= 3 * (SETTINGS.window + 1)
