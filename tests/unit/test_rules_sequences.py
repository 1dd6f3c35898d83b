"""This, then that; this, and not that; this for so long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import RuleError
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Do, RuleEngine, RuleSettings, Situation, Step

SECOND = 10**9
NOON = 1_700_000_000 * SECOND
SIREN = (Do("siren", "raise"),)


def rule(on: str, **fields: Any) -> RuleSettings:
    return RuleSettings(**{"name": "watch", "on": on, "do": SIREN, **fields})


def event(at_s: float, kind: str, source: str = "porch", **body: Any) -> Event:
    return Event(kind, source, NOON + int(at_s * SECOND), body, sequence=int(at_s * 10) + 1)


class Story:
    """Rules and a clock: what happens, and which rules fire, with the second at which they do."""

    def __init__(self, *rules: RuleSettings) -> None:
        self.engine = RuleEngine(rules)
        self.memory = self.engine.memory()
        self.fired: list[tuple[str, float]] = []
        self.parts: list[list[str]] = []

    def happens(self, at_s: float, kind: str, source: str = "porch", **body: Any) -> Story:
        now = event(at_s, kind, source, **body)
        return self._keep(self.engine.decide(now, Situation(now.time_ns), self.memory), at_s)

    def passes(self, at_s: float) -> Story:
        now = NOON + int(at_s * SECOND)
        return self._keep(self.engine.tick(now, Situation(now), self.memory), at_s)

    def _keep(self, decision: Any, at_s: float) -> Story:
        assert decision.faults == ()
        self.fired += [
            (firing.rule, (firing.due_ns - NOON) / SECOND if firing.due_ns else at_s) for firing in decision.firings
        ]
        self.parts += [[part.kind for part in firing.parts] for firing in decision.firings]
        return self


STEPS = (Step("a"), Step("b"))


@given(
    st.lists(st.tuples(st.sampled_from("abcx"), st.integers(0, 5)), max_size=25),
    st.integers(1, 20),
)
def test_a_sequence_is_found_exactly_when_there_is_one(happened: list[tuple[str, int]], within: int) -> None:
    story = Story(rule("c", after=STEPS, within_s=within))
    seen: list[tuple[int, str]] = []
    now, expected = 0, []
    for kind, pause in happened:
        now += pause
        story.happens(now, kind)
        starts = [
            (first, second)
            for at_a, (first, one) in enumerate(seen)
            for second, two in seen[at_a + 1 :]
            if one == "a" and two == "b" and now - first <= within
        ]
        if kind == "c" and starts:
            expected.append(("watch", now))
            seen.clear()  # what has led to a firing leads to no other
        else:
            seen.append((now, kind))
    assert story.fired == expected
    assert story.parts == [["a", "b"]] * len(expected)


def test_steps_belong_together_by_source_person_or_track() -> None:
    story = Story(rule("left", after=(Step("came"),), within_s=60, same=("track",)))
    story.happens(0, "came", track=1).happens(1, "left", track=2).happens(2, "left", track=1)
    assert story.fired == [("watch", 2)]
    people = Story(
        rule("face.known", after=(Step("face.known", source="gate"),), within_s=60, same=("person",), source="door")
    )
    people.happens(0, "face.known", "gate", name="Ada").happens(5, "face.known", "door", name="Bob")
    assert people.fired == []
    assert people.happens(6, "face.known", "door", name="Ada").fired == [("watch", 6)]


def test_one_sample_is_never_two_steps_of_a_sequence() -> None:
    story = Story(rule("knock", after=(Step("knock"), Step("knock")), within_s=10))
    assert story.happens(0, "knock").happens(1, "knock").fired == []
    assert story.happens(2, "knock").fired == [("watch", 2)]


def test_steps_may_be_readings_with_a_condition() -> None:
    step = Step("reading", source="boiler", channel="pressure", when="values.pressure > 3.0")
    story = Story(rule("valve.shut", after=(step,), within_s=30))
    story.happens(0, "reading", "boiler", values={"pressure": 2.0}).happens(1, "valve.shut")
    assert story.fired == []
    story.happens(2, "reading", "boiler", values={"pressure": 4.0}).happens(3, "valve.shut")
    assert (story.fired, story.parts) == ([("watch", 3)], [["reading"]])


OPEN_TOO_LONG = rule("door.opened", unless=(Step("door.shut"),), for_s=60)


def test_what_does_not_happen_in_time_is_told_by_the_clock_once() -> None:
    story = Story(OPEN_TOO_LONG).happens(0, "door.opened").passes(59)
    assert story.fired == []
    assert story.passes(61).passes(200).fired == [("watch", 60)]


def test_what_happens_in_time_takes_it_back() -> None:
    story = Story(OPEN_TOO_LONG).happens(0, "door.opened").happens(30, "door.shut").passes(100)
    assert story.fired == []
    assert story.happens(200, "door.opened").passes(261).fired == [("watch", 260)]


def test_taken_back_and_begun_anew_in_one_instant_is_told_once() -> None:
    story = Story(OPEN_TOO_LONG).happens(0, "door.opened").happens(0, "door.shut").happens(0, "door.opened")
    assert story.passes(61).passes(200).fired == [("watch", 60)]


def test_it_is_taken_back_for_its_own_source_only_when_that_is_asked() -> None:
    story = Story(rule("door.opened", unless=(Step("door.shut"),), for_s=60, same=("source",)))
    story.happens(0, "door.opened", "front").happens(1, "door.opened", "back").happens(2, "door.shut", "front")
    assert story.passes(100).fired == [("watch", 61)]


def test_a_late_record_that_was_in_time_counts_before_the_clock_does() -> None:
    story = Story(OPEN_TOO_LONG).happens(0, "door.opened")
    assert story.happens(30, "door.shut").passes(500).fired == []


def test_a_sensor_whose_clock_is_ahead_does_not_make_time_pass() -> None:
    story = Story(OPEN_TOO_LONG).happens(0, "door.opened")
    ahead = event(10_000, "other")
    assert story.engine.decide(ahead, Situation(NOON + SECOND), story.memory).firings == ()


def hot(story: Story, *degrees: tuple[float, float]) -> Story:
    for at_s, value in degrees:
        story.happens(at_s, "reading", "oven", values={"heat": value})
    return story


HELD = rule("reading", when="values.heat > 50.0", for_s=60)


def test_a_condition_must_hold_for_as_long_as_is_asked_and_fires_once() -> None:
    story = hot(Story(HELD), (0, 60), (30, 70), (59, 80), (61, 80), (90, 80), (200, 90))
    assert story.fired == [("watch", 60)]
    assert hot(story, (210, 20), (220, 60), (290, 60)).fired == [("watch", 60), ("watch", 280)]


def test_a_condition_that_breaks_off_begins_anew() -> None:
    assert hot(Story(HELD), (0, 60), (30, 20), (40, 60), (99, 60)).fired == []
    assert hot(Story(HELD), (0, 60), (30, 20), (40, 60), (101, 60)).fired == [("watch", 100)]


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=30), st.integers(0, 40))
def test_held_conditions_fire_as_a_recomputation_says(readings: list[tuple[int, bool]], rest: int) -> None:
    story = Story(HELD)
    now, since, expected, latched = 0, None, [], False
    for pause, is_hot in [*readings, (rest, None)]:
        now += pause
        if since is not None and not latched and now >= since + 60:
            expected.append(("watch", since + 60))
            latched = True
        if is_hot is None:
            story.passes(now)
        else:
            hot(story, (now, 60.0 if is_hot else 20.0))
            if not is_hot:
                since, latched = None, False
            elif since is None:
                since = now
    assert story.fired == expected


def test_cooldown_holds_for_what_the_clock_brings_about_too() -> None:
    story = hot(
        Story(rule("reading", when="values.heat > 50.0", for_s=1, cooldown_s=100)), (0, 60), (2, 20), (3, 60), (5, 60)
    )
    assert story.fired == [("watch", 1)]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"after": (Step("a"),)}, "after", "belong together"),
        ({"within_s": 5.0}, "within_s", "belong together"),
        ({"unless": (Step("a"),)}, "unless", "needs for_s"),
        ({"same": ("source",)}, "same", "there is none"),
        ({"channel": "heat"}, "channel", "only readings have channels"),
        ({"after": (Step("time"),), "within_s": 5.0}, "after[0].on", "time is no step"),
        ({"after": (Step("a", when="valus.x"),), "within_s": 5.0}, "after[0].when", "'valus' is not known"),
        ({"at": "22:00"}, "at", "only a rule on time"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(fields: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(RuleError) as caught:
        RuleEngine([rule("b", **fields)])
    assert says in caught.value.message
    assert caught.value.facts["field"] == field
