"""A decision is made again from its record alone, and gives the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import RuleError
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Do, Location, RuleEngine, RuleSettings, Situation
from edgewise.pipeline.rules.replay import redo

NOW_NS = 1_790_000_000 * 10**9
DEVICES = {"hall": {"on": False, "brightness": 40}, "door": {"locked": True}}
PEOPLE = {"Ann": {"name": "Ann", "preferences": {"brightness": 70, "temperature_c": 21.5}}}
BERLIN = Location(latitude=52.5, longitude=13.4, timezone="Europe/Berlin")


def rule(when: str, **arguments: Any) -> RuleSettings:
    return RuleSettings(
        name="r", on="face.known", when=when, do=(Do("hall", "turn_on", arguments), Do("door", "unlock"))
    )


def fired(settings: RuleSettings, body: dict[str, Any], location: Location | None = None) -> Any:
    event = Event("face.known", "porch", NOW_NS, body, sequence=1)
    situation = Situation(NOW_NS, person=PEOPLE.get, devices=lambda: DEVICES)
    return RuleEngine([settings], location).decide(event, situation)


@pytest.mark.parametrize(
    ("when", "arguments"),
    [
        ("", {}),
        ("event.body.similarity > 0.6", {"brightness": "= int(person.preferences.brightness)"}),
        ("has(event.body.name) && person.preferences.temperature_c < 22.0", {}),
        ("devices.door.locked && !devices['hall'].on", {"brightness": "= devices.hall.brightness + 1"}),
        ("devices.exists(name, devices[name].size() == 2)", {}),
        ("now - event.time < duration('5s') && now.getHours() < 24", {}),
        ('count("face.known", "10m") == 1', {}),
        ("sun.up || !sun.up", {}),
    ],
)
def test_the_record_alone_gives_the_same_actions(when: str, arguments: dict[str, Any]) -> None:
    settings = rule(when, **arguments)
    (firing,) = fired(settings, {"name": "Ann", "similarity": 0.8}, BERLIN).firings
    again = redo(settings, firing.why, BERLIN)
    assert again.holds
    assert [(each["device"], each["command"], each["arguments"]) for each in again.actions] == [
        (action.device, action.command, dict(action.arguments)) for action in firing.actions
    ]


def test_a_stranger_is_nobody_again() -> None:
    settings = rule("person == null")
    (firing,) = fired(settings, {"similarity": 0.1}).firings
    assert redo(settings, firing.why).holds


def test_another_rule_on_the_same_values_says_something_else() -> None:
    (firing,) = fired(rule("event.body.similarity > 0.6"), {"name": "Ann", "similarity": 0.8}).firings
    assert not redo(rule("event.body.similarity > 0.9"), firing.why).holds


def test_what_the_record_does_not_tell_is_said() -> None:
    with pytest.raises(RuleError):
        redo(rule("event.body.score > 0.5"), {})
    with pytest.raises(RuleError, match="does not tell"):
        redo(rule('count("face.known", "10m") == 1'), {})


@given(st.floats(0, 1), st.sampled_from(["Ann", "Bob", ""]), st.floats(0, 1))
def test_whatever_was_seen_replays_as_it_was_decided(similarity: float, name: str, bound: float) -> None:
    settings = rule(f"event.body.similarity >= {bound!r} && event.body.name != ''")
    for firing in fired(settings, {"name": name, "similarity": similarity}).firings:
        assert redo(settings, firing.why).holds
