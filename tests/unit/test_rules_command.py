"""``edgewise rules test``: a rule is tried on what happened before it is let near a door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgewise.cli import run
from edgewise.errors import TooLargeError
from edgewise.journal.base import StreamSettings
from edgewise.journal.disk import DiskJournal
from edgewise.pipeline.base import Event
from edgewise.pipeline.rules import Do, RuleSettings, trial
from edgewise.pipeline.rules.trial import try_rules
from edgewise.types import Entry

SECOND = 10**9
SIX = 1_795_284_000 * SECOND  # 2026-11-21T18:00:00Z

RULES = """
rules:
  - name: hot
    on: reading
    source: boiler
    when: avg(heat, "5m") > 80 && slope(heat, "5m") > 0
    cooldown_s: 600
    do: [{device: siren, command: raise}]
  - name: calm
    on: face.known
    when: devices.siren.state == "raised" && person.preferences.brightness > 50
    do: [{device: siren, command: clear}]
  - name: left-open
    on: door.opened
    unless: [{on: door.shut}]
    for_s: 60
    do: [{device: siren, command: raise}]
  - name: stranger
    on: face.unknown
    do: [{device: siren, command: raise}]
  - name: lamp
    on: time
    at: "18:02"
    do: [{device: lamp, command: turn_on}]
devices:
  siren: {kind: alarm}
  lamp: {kind: light}
people:
  Ada: {brightness: 60}
"""

RECORDS = """
{"time": "2026-11-21T18:01:30Z", "kind": "door.opened", "source": "door"}
{"time": "2026-11-21T18:00:00Z", "source": "boiler", "values": {"heat": 70}}
{"time": "2026-11-21T18:01:00Z", "source": "boiler", "values": {"heat": 95}}
{"time": "2026-11-21T18:01:10Z", "kind": "face.known", "source": "door", "body": {"name": "Ada"}}
{"time": "2026-11-21T18:03:00Z", "source": "boiler", "values": {"heat": 97}}
"""

FIRED = [
    ("hot", "2026-11-21T18:01:00Z"),
    ("calm", "2026-11-21T18:01:10Z"),
    ("lamp", "2026-11-21T18:02:00Z"),
    ("left-open", "2026-11-21T18:02:30Z"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "records.jsonl").write_text(RECORDS)
    return tmp_path


def try_on(folder: Path, capfd: pytest.CaptureFixture[str], *more: str, json_out: bool = True) -> tuple[int, Any]:
    code = run(["rules", "test", str(folder / "rules.yaml"), *more, *(["--json"] if json_out else [])])
    said = capfd.readouterr()
    return code, json.loads(said.out) if json_out and said.out else said.out + said.err


def fired(answer: Any) -> list[tuple[str, str]]:
    return [(each["rule"], each["time"]) for each in answer["report"]["fired"]]


def test_recorded_events_show_which_rules_would_have_fired_when_and_why(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, answer = try_on(folder, capfd, "--events", str(folder / "records.jsonl"))
    assert (code, fired(answer)) == (0, FIRED)
    assert answer["report"]["never"] == ["stranger"]
    assert answer["report"]["fired"][0]["why"] == {
        'avg(heat, "5m")': 82.5,
        'slope(heat, "5m")': pytest.approx(25 / 60),
    }


def test_a_person_sees_it_in_a_table(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, said = try_on(folder, capfd, "--events", str(folder / "records.jsonl"), json_out=False)
    assert code == 0
    for words in ("left-open", "siren.raise", "Never fired: stranger", "5 records", "11-21 18:02:30Z"):
        assert words in said


def test_what_was_expected_decides_the_exit_code(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = ("--events", str(folder / "records.jsonl"))
    expectation = folder / "expected.yaml"
    expectation.write_text("fired: [" + ", ".join(f"{{rule: {rule}, time: {at}}}" for rule, at in FIRED) + "]")
    assert try_on(folder, capfd, *records, "--expect", str(expectation))[0] == 0
    expectation.write_text("fired: [{rule: hot}, {rule: calm}, {rule: lamp, time: 2026-11-21T19:02:00Z}]")
    code, answer = try_on(folder, capfd, *records, "--expect", str(expectation))
    assert code == 1
    assert [each["rule"] for each in answer["difference"]["missing"]] == ["lamp"]
    assert [each["rule"] for each in answer["difference"]["unexpected"]] == ["lamp", "left-open"]
    assert "1 missing, 2 unexpected" in try_on(folder, capfd, *records, "--expect", str(expectation), json_out=False)[1]


def test_what_it_told_is_an_expectation(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    records = ("--events", str(folder / "records.jsonl"))
    _, answer = try_on(folder, capfd, *records)
    (folder / "told.json").write_text(json.dumps({"fired": answer["report"]["fired"]}))
    assert try_on(folder, capfd, *records, "--expect", str(folder / "told.json"))[0] == 0


def test_a_rule_that_fails_on_a_record_is_told_with_exit_code_1(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "rules.yaml").write_text(RULES.replace("devices.siren.state ==", "event.body.missing =="))
    code, said = try_on(folder, capfd, "--events", str(folder / "records.jsonl"), json_out=False)
    assert code == 1
    assert "there is no 'missing'" in said


def test_only_a_part_of_time_is_told_but_what_was_before_is_looked_back_at(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    times = ("--from", "2026-11-21T18:00:30Z", "--to", "2026-11-21T18:02:00Z")
    _, answer = try_on(folder, capfd, "--events", str(folder / "records.jsonl"), *times)
    assert fired(answer) == FIRED[:3]


@pytest.fixture
def data(folder: Path) -> Path:
    streams = dict.fromkeys(("events", "readings"), StreamSettings())
    journal = DiskJournal(folder / "data" / "journal", node="home", streams=streams)
    for line in RECORDS.strip().splitlines():
        record = json.loads(line)
        seconds = sum(int(part) * 60**place for place, part in enumerate(reversed(record["time"][11:19].split(":"))))
        at = SIX + (seconds - 18 * 3600) * SECOND
        body = {**record.get("body", {}), "source": record["source"]}
        if "values" in record:
            journal.append("readings", [Entry("reading", {**body, "values": record["values"]}, time_ns=at)])
        else:
            journal.append("events", [Entry(record["kind"], body, time_ns=at)])
    journal.close()
    return folder / "data"


def test_the_journal_of_a_node_is_replayed(folder: Path, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, answer = try_on(folder, capfd, "--journal", str(data), "--node", "home")
    assert (code, fired(answer)) == (0, FIRED)
    code, answer = try_on(folder, capfd, "--journal", str(data), "--node", "home", "--from", "2026-11-21T18:01:30Z")
    assert fired(answer) == FIRED[2:]


def test_a_nodes_own_settings_replay_its_own_journal(
    folder: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rules = RULES.partition("people:")[0].replace("&& person.preferences.brightness > 50", "")
    (folder / "rules.yaml").write_text(f"node: {{name: home, data: {data}}}\n{rules}")
    assert fired(try_on(folder, capfd)[1]) == FIRED


@pytest.mark.parametrize(
    ("change", "options", "code", "says"),
    [
        (("", ""), [], 5, "Nothing to replay"),
        (("", ""), ["--events", "nowhere.jsonl"], 6, "no file nowhere.jsonl"),
        (("avg(heat", "avrg(heat"), [], 3, "line 6, rules[0].when"),
        (("  lamp: {kind", "  lamb: {kin"), [], 3, "rules.yaml, line"),
        (("for_s: 60", "for_s: 60\n    while: 3"), [], 3, "unknown field 'while'"),
        (("people:", "peoples:"), [], 3, "unknown field 'peoples'"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(
    change: tuple[str, str], options: list[str], code: int, says: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "rules.yaml").write_text(RULES.replace(*change) if change[0] else RULES)
    told = try_on(folder, capfd, *options, json_out=False)
    assert told[0] == code
    assert says in told[1]


def test_a_line_that_is_no_record_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for line, says in (
        ("{]", "line 2"),
        ('{"kind": "a.b"}', "has no time"),
        ('{"time": "2026-11-21T18:00:00"}', "zone"),
    ):
        (folder / "records.jsonl").write_text(f"\n{line}\n")
        code, said = try_on(folder, capfd, "--events", str(folder / "records.jsonl"), json_out=False)
        assert code == 5
        assert says in said


def test_a_trial_that_takes_too_long_is_given_up() -> None:
    rule = RuleSettings("any", "a", (Do("lamp", "turn_on"),))
    with pytest.raises(TooLargeError, match="too long"):
        try_rules([rule], (Event("a", "s", SIX + n, {}) for n in range(1000)), in_time=lambda: False)


def test_a_rhythm_over_years_is_refused_rather_than_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_MAX_TICKS", 1000)
    rule = RuleSettings("any", "time", (Do("lamp", "turn_on"),), every_s=1.0)
    records = [Event("a", "s", SIX + n * 10**17, {}) for n in range(2)]
    with pytest.raises(TooLargeError, match="times"):
        try_rules([rule], records)
