"""Rules on time: nothing is missed, nothing comes twice, whatever the clock and its changes do."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import RuleError
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Do, Location, RuleEngine, RuleSettings, Situation

SECOND = 10**9
HOUR = 3600 * SECOND
BERLIN = ZoneInfo("Europe/Berlin")
HOME = Location(latitude=52.52, longitude=13.405, timezone="Europe/Berlin")
LAMP = (Do("lamp", "turn_on"),)


def rule(**fields: Any) -> RuleSettings:
    return RuleSettings(**{"name": "lamp", "on": "time", "do": LAMP, **fields})


def at(text: str, *, fold: int = 0) -> int:
    """A local time in nanoseconds."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()) * SECOND


def local(time_ns: int) -> str:
    return datetime.datetime.fromtimestamp(time_ns // SECOND, tz=BERLIN).isoformat()


class Clockwork:
    """A rule and a clock that is set."""

    def __init__(self, **fields: Any) -> None:
        self.engine = RuleEngine([rule(**fields)], HOME)
        self.memory = self.engine.memory()

    def show(self, *times_ns: int) -> list[str]:
        """What is due, as the clock shows one time after the other."""
        return [
            local(firing.due_ns)
            for now in times_ns
            for firing in self.engine.tick(now, Situation(now), self.memory).firings
        ]

    def run(self, start: int, end: int, step_s: int = 60) -> list[str]:
        return self.show(*range(start, end, step_s * SECOND))


def test_a_lamp_goes_on_at_ten_in_the_evening_by_the_local_clock() -> None:
    clock = Clockwork(at="22:00")
    assert clock.run(at("2026-11-20T12:00"), at("2026-11-22T12:00")) == [
        "2026-11-20T22:00:00+01:00",
        "2026-11-21T22:00:00+01:00",
    ]


def test_half_an_hour_before_sunset_follows_the_sun() -> None:
    winter = Clockwork(at="sunset - 30m").run(at("2026-12-21T12:00"), at("2026-12-22T00:00"))
    summer = Clockwork(at="sunset - 30m").run(at("2026-06-21T12:00"), at("2026-06-22T00:00"))
    # The almanac for Berlin: sunset at 15:54 and at 21:33.
    assert winter[0].startswith("2026-12-21T15:2")
    assert summer[0].startswith("2026-06-21T21:0")


def test_days_of_the_week() -> None:
    clock = Clockwork(at=("07:00", "08:00"), days="mon-fri")  # the 21st is a Saturday
    assert clock.run(at("2026-11-20T07:30"), at("2026-11-23T07:30")) == [
        "2026-11-20T08:00:00+01:00",
        "2026-11-23T07:00:00+01:00",
    ]


def test_cron_lines() -> None:
    clock = Clockwork(at="*/20 8-9 * * 1-5")
    told = clock.run(at("2026-11-20T08:30"), at("2026-11-23T08:10"))
    assert [time[11:16] for time in told] == ["08:40", "09:00", "09:20", "09:40", "08:00"]


def test_a_time_that_spring_leaves_out_comes_once_and_one_that_autumn_doubles_comes_once() -> None:
    assert Clockwork(at="02:30").run(at("2026-03-29T00:00"), at("2026-03-29T12:00")) == ["2026-03-29T03:30:00+02:00"]
    assert Clockwork(at="02:30").run(at("2026-10-25T00:00"), at("2026-10-25T12:00")) == ["2026-10-25T02:30:00+02:00"]


def test_every_hour_means_the_hours_that_really_pass() -> None:
    for night, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        end = at(f"{night}T00:00") + hours * HOUR
        assert local(end).endswith("T00:00:00+02:00" if hours == 23 else "T00:00:00+01:00")
        assert len(Clockwork(at="30 * * * *").run(at(f"{night}T00:00"), end)) == hours


# Ticks as a node makes them, the clock set forward and back by up to two hours meanwhile.
steps = st.lists(st.one_of(st.integers(1, 1800), st.integers(-7200, 7200)), min_size=1, max_size=80)
starts = st.sampled_from(["2026-03-28T20:00", "2026-10-24T20:00", "2026-07-01T20:00"]).map(at)


@given(start=starts, steps=steps)
def test_no_time_of_day_comes_twice_however_the_clock_is_set(start: int, steps: list[int]) -> None:
    clock, now = Clockwork(at="*/10 * * * *"), start
    told: list[str] = clock.show(now)
    for step in steps:
        now += step * SECOND
        told += clock.show(now)
    assert len(told) == len(set(told))


@given(start=starts, steps=st.lists(st.integers(1, 900), min_size=1, max_size=80))
def test_a_clock_that_runs_forward_misses_nothing_but_what_it_jumps_over(start: int, steps: list[int]) -> None:
    clock, now = Clockwork(at="*/30 * * * *"), start
    told, expected = clock.show(now), []
    for step in steps:
        before, now = now, now + step * SECOND
        told += clock.show(now)
        half = 1800 * SECOND
        if now // half > before // half:
            expected.append(local(now // half * half))
    assert told == expected


@given(start=starts, crash=st.integers(-10, 10))
def test_after_a_restart_a_time_is_neither_lost_nor_repeated(start: int, crash: int) -> None:
    due = at("2026-07-01T22:00")
    keys: list[str] = []
    clock = Clockwork(at="22:00")
    clock.show(due - 60 * SECOND)
    died = due + crash * SECOND
    before = clock.engine.tick(died, Situation(died), clock.memory).firings
    keys += [firing.key for firing in before]
    memory = clock.engine.memory()
    now = died + SECOND
    clock.engine.resume_schedules(memory, now)
    for second in range(20):
        later = now + second * SECOND
        fired = clock.engine.tick(later, Situation(later), memory).firings
        keys += [firing.key for firing in fired if firing.key not in keys]
    assert len(keys) == (1 if keys else 0)
    assert len(keys) == 1 or crash > 4


def test_of_the_times_that_a_sleeping_machine_missed_only_the_last_is_told_and_its_command_is_late() -> None:
    clock = Clockwork(at="*/5 * * * *")
    clock.show(at("2026-07-01T10:01"))
    now = at("2026-07-01T18:02")
    (firing,) = clock.engine.tick(now, Situation(now), clock.memory).firings
    assert local(firing.due_ns) == "2026-07-01T18:00:00+02:00"
    assert firing.actions[0].expires_ns < now


def test_a_clock_that_was_years_ahead_and_is_put_right_does_not_silence_a_rule() -> None:
    clock = Clockwork(at="22:00")
    clock.show(at("2026-07-01T10:00"), at("2031-07-01T10:00"))
    assert clock.show(at("2026-07-01T21:00"), at("2026-07-01T22:01")) == ["2026-07-01T22:00:00+02:00"]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=50), st.integers(1, 90))
def test_a_rhythm_comes_once_for_each_of_its_times(steps: list[int], every: int) -> None:
    clock = Clockwork(every_s=every)
    now = at("2026-07-01T10:00")
    told, expected = clock.show(now), 0
    for step in steps:
        before, now = now, now + step * SECOND
        told += clock.show(now)
        expected += now // (every * SECOND) > before // (every * SECOND)
    assert len(told) == len(set(told)) == expected


def test_the_next_time_is_known_so_that_nobody_has_to_ask_all_the_time() -> None:
    clock = Clockwork(at="22:00")
    clock.show(at("2026-07-01T10:00"))
    assert clock.engine.next_due(clock.memory) == at("2026-07-01T22:00")


def times_in_force(between: str, moments: Iterable[str], days: str = "") -> list[str]:
    engine = RuleEngine([RuleSettings("night", "knock", LAMP, between=between, days=days)], HOME)
    found = []
    for moment in moments:
        now = at(moment)
        if engine.decide(Event("knock", "door", now, {}), Situation(now)).firings:
            found.append(moment)
    return found


def test_a_part_of_the_day_may_go_over_midnight_and_belongs_to_the_day_it_began() -> None:
    moments = ["2026-11-20T21:59", "2026-11-20T22:00", "2026-11-21T05:59", "2026-11-21T06:00", "2026-11-21T23:00"]
    assert times_in_force("22:00-06:00", moments) == [moments[1], moments[2], moments[4]]
    assert times_in_force("22:00-06:00", moments, days="fri") == [moments[1], moments[2]]


def test_from_sunset_to_sunrise() -> None:
    moments = ["2026-12-21T15:30", "2026-12-21T16:30", "2026-12-22T07:30", "2026-12-22T09:00"]
    assert times_in_force("sunset-sunrise", moments) == moments[1:3]
    assert times_in_force("sunset - 1h - sunrise", moments) == moments[:3]


def test_expressions_see_the_sun() -> None:
    engine = RuleEngine(
        [RuleSettings("dark", "knock", LAMP, when='!sun.up && now > sun.sunset + duration("1h")')], HOME
    )
    told = []
    for moment in ("2026-12-21T12:00", "2026-12-21T16:10", "2026-12-21T18:00"):
        told += [moment for _ in engine.decide(Event("knock", "door", at(moment), {}), Situation(at(moment))).firings]
    assert told == ["2026-12-21T18:00"]


def test_where_the_sun_does_not_set_its_times_do_not_come_and_it_is_up() -> None:
    north = Location(latitude=78.2, longitude=15.6, timezone="Arctic/Longyearbyen")
    engine = RuleEngine([rule(at="sunset"), rule(name="up", every_s=3600, when="sun.up")], north)
    memory = engine.memory()
    start = at("2026-06-20T00:00")
    fired = [
        f.rule for n in range(26) for f in engine.tick(start + n * HOUR, Situation(start + n * HOUR), memory).firings
    ]
    assert set(fired) == {"up"}
    assert len(fired) == 25


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({}, "on", "needs at or every_s"),
        ({"at": "25:00"}, "at", "is no time of day"),
        ({"at": "moonrise"}, "at", "no time of the sun"),
        ({"at": "0 25 * * *"}, "at", "is no hour of a cron line"),
        ({"at": "0 0 30 2 *"}, "at", "never comes"),
        ({"at": "22:00", "every_s": 5.0}, "on", "one of them"),
        ({"at": "22:00", "days": "mon-fry"}, "days", "'fry' is no day"),
        ({"at": "22:00", "between": "22-06"}, "between", "no part of a day"),
        ({"at": "22:00", "for_s": 5.0}, "for_s", "listens to nothing else"),
        ({"every_s": 0.5}, "every_s", "every second at most"),
    ],
)
def test_times_that_are_none_are_refused(fields: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(RuleError) as caught:
        RuleEngine([rule(**fields)], HOME)
    assert says in caught.value.message
    assert caught.value.facts["field"] == field


def test_sun_times_need_a_place_and_a_time_zone_has_to_exist() -> None:
    with pytest.raises(RuleError, match="where the node stands"):
        RuleEngine([rule(at="sunset")])
    with pytest.raises(RuleError, match="no time zone") as caught:
        RuleEngine([], Location(timezone="Europe/Berln"))
    assert "Europe/Berlin" in caught.value.hint
