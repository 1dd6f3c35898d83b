"""Rules: what fires, with which values, how often, and how a wrong expression is told."""

from __future__ import annotations

from typing import Any

import pytest

from edgewise.errors import RuleError
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Do, RuleEngine, RuleSettings, Situation

SECOND = 1_000_000_000
NOON = 1_700_000_000 * SECOND
ADA = {"name": "Ada", "preferences": {"brightness": 60, "temperature_c": 21.5}}


def rule(name: str = "welcome", on: str = "face.known", when: str = "", **fields: Any) -> RuleSettings:
    do = fields.pop("do", (Do(device="door", command="unlock"),))
    return RuleSettings(name=name, on=on, when=when, do=do, **fields)


def seen(name: str = "Ada", kind: str = "face.known", *, at_s: float = 0.0, **body: Any) -> Event:
    facts = {"name": name, "similarity": 0.71, **body} if name else body
    return Event(kind=kind, source="porch", time_ns=NOON + int(at_s * SECOND), body=facts)


def situation(*, now_ns: int = NOON, devices: dict[str, dict[str, Any]] | None = None) -> Situation:
    return Situation(now_ns, person={"Ada": ADA}.get, devices=lambda: devices or {})


def test_a_known_person_gets_the_door_and_her_own_light() -> None:
    engine = RuleEngine(
        [
            rule(
                when="event.body.similarity > 0.6 && has(person.preferences.brightness)",
                do=(
                    Do(device="door", command="unlock", expires_s=2.0),
                    Do(device="hall", command="turn_on", arguments={"brightness": "=person.preferences.brightness"}),
                ),
            )
        ]
    )
    (firing,) = engine.decide(seen(), situation()).firings
    unlock, light = firing.actions
    assert (unlock.device, unlock.command, unlock.cause) == ("door", "unlock", "welcome")
    assert unlock.expires_ns == NOON + 2 * SECOND
    assert light.arguments == {"brightness": 60}
    assert unlock.key != light.key
    assert firing.why == {"event.body.similarity": 0.71, "person.preferences.brightness": 60}


def test_a_rule_whose_condition_is_false_or_that_listens_to_something_else_stays_silent() -> None:
    engine = RuleEngine([rule(when="event.body.similarity > 0.9"), rule("strangers", on="face.unknown")])
    assert engine.decide(seen(), situation()).actions == ()


def test_a_star_listens_to_all_kinds_below_and_rules_fire_in_their_order() -> None:
    engine = RuleEngine([rule("first", on="face.*"), rule("second"), rule("third", on="*"), rule("not", on="sound.*")])
    assert [firing.rule for firing in engine.decide(seen(), situation()).firings] == ["first", "second", "third"]


def test_the_same_event_gives_the_same_keys_so_that_a_replay_acts_once() -> None:
    engine = RuleEngine([rule()])
    assert engine.decide(seen(), situation()) == engine.decide(seen(), situation())
    first, second = (engine.decide(seen(at_s=s), situation()).actions[0].key for s in (0, 1))
    assert first != second


def test_a_cooldown_holds_for_one_person_at_one_source_and_then_ends() -> None:
    engine = RuleEngine([rule(cooldown_s=10)])
    memory = engine.memory()
    assert len(engine.decide(seen(), situation(), memory).actions) == 1
    soon = situation(now_ns=NOON + 9 * SECOND)
    assert engine.decide(seen(at_s=9), soon, memory).actions == ()
    assert len(engine.decide(seen("Bob", at_s=9), soon, memory).actions) == 1
    later = situation(now_ns=NOON + 10 * SECOND)
    assert len(engine.decide(seen(at_s=10), later, memory).actions) == 1


def test_cooldowns_that_are_over_are_forgotten_before_they_fill_the_memory() -> None:
    engine = RuleEngine([rule(cooldown_s=10)])
    memory = engine.memory()
    for second in range(3000):
        engine.decide(seen(f"guest {second}", at_s=second), situation(now_ns=NOON + second * SECOND), memory)
    assert 10 <= len(memory.fired) <= 1100


def test_a_clock_set_back_does_not_lengthen_a_cooldown() -> None:
    engine = RuleEngine([rule(cooldown_s=10)])
    memory = engine.memory()
    engine.decide(seen(), situation(), memory)
    assert len(engine.decide(seen(), situation(now_ns=NOON - 3600 * SECOND), memory).actions) == 1


def test_devices_and_the_time_can_be_asked() -> None:
    engine = RuleEngine([rule(when="devices['front door'].state == 'locked' && now.getHours() == 22")])
    at_ten = 1_700_000_000 * SECOND  # 2023-11-14 22:13:20 UTC
    decision = engine.decide(seen(), situation(now_ns=at_ten, devices={"front door": {"state": "locked"}}))
    assert decision.firings[0].why == {
        "devices['front door'].state": "locked",
        "now": "2023-11-14T22:13:20+00:00",
    }


def test_a_rule_that_fails_on_an_event_is_reported_and_the_others_still_fire() -> None:
    engine = RuleEngine([rule("broken", when="event.body.colour == 'red'"), rule("good")])
    decision = engine.decide(seen(), situation())
    assert [firing.rule for firing in decision.firings] == ["good"]
    (fault,) = decision.faults
    assert fault.rule == "broken"
    assert "there is no 'colour'" in fault.error.message


def test_a_condition_that_is_no_truth_value_is_a_fault() -> None:
    (fault,) = RuleEngine([rule(when="event.body.similarity")]).decide(seen(), situation()).faults
    assert "expected true or false" in fault.error.message


def test_an_argument_with_two_equal_signs_is_plain_text() -> None:
    do = (Do(device="siren", command="raise", arguments={"reason": "==> look"}),)
    assert RuleEngine([rule(do=do)]).decide(seen(), situation()).actions[0].arguments == {"reason": "=> look"}


@pytest.mark.parametrize(
    ("when", "line", "column", "says"),
    [
        ("event.body.a >", 1, 15, "Syntax error"),
        ("event.body.a > 1\n  && ((", 2, 8, "Syntax error"),
        ("evnt.body.a > 1", 1, 1, "variable 'evnt' is not known"),
        ("now.getHour() > 3", 1, 5, "function 'getHour' is not known"),
        ("true &&\n  siz(person.name) > 3", 2, 3, "function 'siz' is not known"),
    ],
)
def test_a_wrong_expression_is_refused_when_rules_are_loaded(when: str, line: int, column: int, says: str) -> None:
    with pytest.raises(RuleError, match=r"Rule 'welcome', when, line") as caught:
        RuleEngine([rule(when=when)])
    assert says in caught.value.message
    assert caught.value.facts == {"rule": "welcome", "field": "when", "line": line, "column": column}


def test_the_nearest_known_name_is_suggested() -> None:
    with pytest.raises(RuleError) as caught:
        RuleEngine([rule(when="persn.name == 'Ada'")])
    assert caught.value.hint == "Did you mean 'person'?"


def test_a_wrong_argument_names_its_place() -> None:
    with pytest.raises(RuleError, match=r"do\[1\]\.arguments\.brightness"):
        RuleEngine([rule(do=(Do("door", "unlock"), Do("hall", "turn_on", {"brightness": "=person..x"})))])


def test_names_inside_macros_and_texts_are_not_variables() -> None:
    RuleEngine([rule(when="event.body.tags.exists(tag, tag == 'persn.x')")])


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(RuleError, match="Two rules are named 'welcome'"):
        RuleEngine([rule(), rule()])


@pytest.mark.parametrize(
    "when", ["event.body.box[4] > 1", "1 / event.body.zero > 1", "event.body.name > 1", "event.body.name.matches('(')"]
)
def test_whatever_fails_in_an_expression_is_a_fault_of_its_rule(when: str) -> None:
    engine = RuleEngine([rule(when=when), rule("other")])
    decision = engine.decide(seen(box=[1, 2, 3, 4], zero=0), situation())
    assert [fault.rule for fault in decision.faults] == ["welcome"]
    assert [firing.rule for firing in decision.firings] == ["other"]
