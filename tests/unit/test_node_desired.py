"""A node and what its parent wants of it: checked as settings are, made so piece by piece, remembered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import ClosedError, InputError, NotFoundError, SettingsError, StorageFullError, TooLargeError
from edgewise.fleet.desired import Desired, write
from edgewise.link.desired import Handed, Problem, Report, Wanted
from edgewise.node import organs
from edgewise.node import settling as settling_module
from edgewise.node.desired import check, combine, differences, parse
from edgewise.node.node import Node
from edgewise.node.reconcile import Kind, Shape, Step
from edgewise.node.settings import Settings, load
from edgewise.node.settling import Settling, shape_of
from edgewise.node.streams import DECISIONS
from edgewise.pipeline.base import Event

PATIENCE_S = 10.0
PARENT = "ab" * 32
HOME = """
node: {name: home}
parent: {may_change: [pipelines, rules, models, parent]}
pipelines:
  porch: {source: {kind: upload}}
devices:
  door: {kind: lock, relock_s: 0}
  hall: {kind: light}
rules:
  - {name: open, on: face.known, do: [{device: door, command: unlock, expires_s: 60}]}
"""
LOCK = {"name": "close", "on": "face.unknown", "do": [{"device": "door", "command": "lock", "expires_s": 60}]}
A = "{name: a, on: x, do: [{device: d, command: c}]}"
B = "{name: b, on: x, when: '1 +', do: [{device: d, command: c}]}"
UPLOAD = {"source": {"kind": "upload"}}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "edgewise.yaml"
    file.write_text(HOME)
    return load(file, environment={"EDGEWISE_NODE__DATA": str(tmp_path / "data")})


def wanted(document: dict[str, Any] | str, *, revision: int = 1, node: str = "home") -> Handed:
    text = document if isinstance(document, str) else write(document)
    return Handed(f"e.{revision}", wanted=(Wanted(node, "center", revision, text),))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Documents.


def test_a_document_is_written_as_a_settings_file() -> None:
    document = parse("rules:\n  - {name: a, on: x, do: [{device: d, command: lock}]}\nmodels: [yunet]\n", file="f.yaml")
    assert document == {
        "rules": [{"name": "a", "on": "x", "do": [{"device": "d", "command": "lock"}]}],
        "models": ["yunet"],
    }
    assert parse("", file="f.yaml") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http: {port: 1}\n", "f.yaml, line 1, http: a parent sets nothing of this"),
        ("models: []\nparent: {may_change: [rules]}\n", "line 2, parent.may_change"),
        ("models: [./mine]\n", r"line 1, models\[0\]: './mine' is a path"),
        ("rules:\n  - {name: a, on: x, whne: '1', do: []}\n", r"line 2, rules\[0\].whne: unknown field"),
        (f"rules:\n  - {A}\n  - {B}\n", r"line 3, rules\[1\].when"),
        (f"rules:\n  - {A}\n  - {A}\n", "Two rules are named 'a'"),
        ("pipelines: {a: {source: {kind: readings}, transforms: [{kind: motion}]}}\n", "takes frame"),
        ("- 1\n", "line 1"),
        ("models: [a\n", "line"),
    ],
)
def test_a_wrong_document_is_told_as_wrong_settings_are(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse(text, file="f.yaml")


def test_what_was_given_as_values_is_told_as_wrong_input() -> None:
    with pytest.raises(InputError, match=r"^rules\[0\].do: expected `array` of length >= 1") as caught:
        check({"rules": [{"name": "a", "do": []}]})
    assert caught.value.facts["field"] == "rules[0].do"
    with pytest.raises(TooLargeError):
        check({"models": ["x" * 300_000]})


def test_of_each_section_the_document_counts_whole_and_of_parent_each_key(own: Settings) -> None:
    combined = combine(own, write({"rules": [LOCK], "parent": {"gather_s": 9}}), by="center")
    assert [rule.name for rule in combined.settings.rules] == ["close"]
    assert combined.settings.pipelines == own.pipelines
    assert combined.settings.parent.gather_s == 9
    assert combined.settings.parent.may_change == own.parent.may_change
    assert combined.taken == {"rules", "parent"}


def test_what_the_own_file_does_not_allow_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(HOME.replace("[pipelines, rules, models, parent]", "[models]"))
    own = load(file, environment={})
    combined = combine(own, write({"rules": [LOCK], "models": ["yunet"]}), by="center")
    assert combined.settings.rules == own.rules
    assert combined.settings.models == ("yunet",)
    assert combined.refused == ("rules",)
    file.write_text(HOME.replace("parent: {may_change: [pipelines, rules, models, parent]}", ""))
    assert combine(load(file, environment={}), write({"models": []}), by="center").taken == frozenset()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"rules": [{**LOCK, "do": [{"device": "siren", "command": "raise"}]}]}, "which is no device"),
        ({"rules": [{**LOCK, "source": "yard"}]}, "'yard', which is no pipeline"),
        ({"pipelines": {"p": {"source": {"kind": "mqtt", "topics": ["x"]}}}}, "no broker is named"),
        ({"pipelines": {"P!": UPLOAD}}, "pipelines"),
        ('{"http": {}}', "http: a parent sets nothing of this"),
        ("{", "cannot be read"),
        ('{"rules": ' + "[" * 5000 + "]" * 5000 + "}", "document of center"),
    ],
)
def test_a_document_that_does_not_fit_is_refused(own: Settings, document: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        combine(own, document if isinstance(document, str) else write(document), by="center")


def test_differences_are_told_in_sentences() -> None:
    desired = Desired("home", "center", 4, write({"models": ["x"]}))
    there = Report("home", "center", 4, desired.digest, True, 0)
    assert differences(desired, there) == ()
    assert differences(Desired("home"), None) == ()
    assert differences(desired, None) == ("home has reported nothing yet",)
    old = Report("home", "center", 3, "other", True, 0)
    assert differences(desired, old) == ("home has revision 3 of center; wanted is revision 4 of center",)
    assert "refused revision 4" in differences(desired, Report("home", "center", 4, desired.digest, False, 0))[0]


# Settling.


class Bench:
    """Carries steps out by noting them; what is in ``broken`` does not work."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.broken: dict[str, Exception] = {}

    def carry_out(self, step: Step, wanted: Settings) -> None:
        self.steps.append(step)
        if error := self.broken.get(step.name):
            raise error


class Home:
    """A node's memory of what is wanted, on a disk that survives ``restart``."""

    def __init__(self, own: Settings, folder: Path) -> None:
        self.own = own
        self.file = folder / "link" / "desired.json"
        self.bench = Bench()
        self.reports: list[Report] = []
        self.settling = self._open(PARENT)

    def _open(self, parent: str) -> Settling:
        settling = Settling(self.file, own=self.own, parent=parent, clock=ManualClock())
        settling.follow(self.reports.append)
        return settling

    def start(self) -> None:
        self.settling.start(self.bench, shape_of(self.own))

    def restart(self, *, parent: str = PARENT) -> None:
        self.settling.stop()
        self.bench.steps.clear()
        self.reports.clear()
        self.settling = self._open(parent)

    def take(self, handed: Handed) -> None:
        before = len(self.reports)
        self.settling.take(handed, parent=PARENT)
        until(lambda: len(self.reports) > before)


@pytest.fixture
def home(own: Settings, tmp_path: Path) -> Iterator[Home]:
    home = Home(own, tmp_path)
    yield home
    home.settling.stop()


def test_what_changes_is_carried_out_and_reported_and_nothing_else(home: Home) -> None:
    home.start()
    assert [report.revision for report in home.reports] == [0]
    home.take(wanted({"pipelines": {"porch": UPLOAD, "yard": UPLOAD}}))
    assert home.bench.steps == [Step(Kind.START, "yard")]
    assert (home.reports[-1].revision, home.reports[-1].right) == (1, True)
    home.take(wanted({}, revision=2))
    assert home.bench.steps[1:] == [Step(Kind.STOP, "yard")]


def test_a_step_that_fails_is_told_and_tried_again_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling_module, "AGAIN_S", 0.01)
    home.bench.broken["yard"] = NotFoundError("no such model", hint="pull it")
    home.start()
    home.take(wanted({"pipelines": {"porch": UPLOAD, "yard": UPLOAD, "wall": UPLOAD}}))
    [section] = home.reports[-1].sections
    assert section.problems == (Problem("pipelines.yard", "not_found", "no such model", "pull it"),)
    assert home.reports[-1].accepted
    home.bench.broken.clear()
    until(lambda: home.reports[-1].right)
    assert home.bench.steps.count(Step(Kind.START, "wall")) == 1


def test_a_defect_in_a_step_leaves_the_others(home: Home) -> None:
    home.bench.broken["yard"] = ZeroDivisionError()
    home.start()
    home.take(wanted({"pipelines": {"porch": UPLOAD, "yard": UPLOAD, "wall": UPLOAD}}))
    assert home.reports[-1].sections[0].problems[0].code == "internal"
    assert Step(Kind.START, "wall") in home.bench.steps


def test_a_bad_document_changes_nothing_and_is_told_again_after_a_restart(home: Home) -> None:
    home.start()
    home.take(wanted({"rules": [LOCK]}))
    home.bench.steps.clear()
    bad = {**LOCK, "do": [{"device": "siren", "command": "raise"}]}
    home.take(wanted({"rules": [bad], "pipelines": {}}, revision=2))
    assert home.bench.steps == []
    assert not home.reports[-1].accepted
    assert [section.section for section in home.reports[-1].sections] == ["pipelines", "rules"]
    home.restart()
    assert [rule.name for rule in home.settling.combined.settings.rules] == ["close"]
    assert home.settling.position == "e.2"
    home.start()
    assert (home.reports[-1].revision, home.reports[-1].accepted) == (2, False)


def test_it_starts_with_the_last_document_without_asking_anybody(home: Home) -> None:
    home.start()
    home.take(wanted({"rules": [LOCK]}))
    home.restart()
    assert [rule.name for rule in home.settling.combined.settings.rules] == ["close"]


def test_what_another_parent_wanted_counts_no_more(home: Home) -> None:
    home.start()
    home.take(wanted({"rules": [LOCK]}))
    home.restart(parent="")
    assert home.settling.combined.settings == home.own
    assert home.settling.position == ""


def test_what_the_parent_does_not_list_any_more_counts_no_longer(home: Home) -> None:
    home.start()
    home.take(wanted({"rules": [LOCK]}))
    home.settling.take(Handed("f.1", whole=True, more=True), parent=PARENT)
    assert home.settling.combined.taken
    home.take(Handed("f.2", whole=True))
    assert home.settling.combined.settings == home.own


def test_documents_of_others_are_none_of_its_business(home: Home) -> None:
    home.start()
    home.settling.take(wanted({"rules": [LOCK]}, node="other", revision=9), parent=PARENT)
    assert home.settling.combined.settings == home.own
    assert home.settling.position == "e.9"


def test_what_cannot_be_remembered_is_not_done(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFullError("no space left")

    home.start()
    with monkeypatch.context() as patch:
        patch.setattr(settling_module, "write_atomic", full)
        with pytest.raises(StorageFullError):
            home.settling.take(wanted({"rules": [LOCK]}), parent=PARENT)
    assert home.settling.combined.settings == home.own
    assert home.settling.position == ""
    home.take(wanted({"rules": [LOCK]}))
    assert home.bench.steps == [Step(Kind.RULES)]


def test_a_damaged_memory_is_as_none(home: Home) -> None:
    home.start()
    home.take(wanted({"rules": [LOCK]}))
    home.file.write_bytes(b'{"parent": 1')
    home.restart()
    assert home.settling.position == ""
    assert home.settling.combined.settings == home.own


# In a running node.


@pytest.fixture
def node(own: Settings) -> Iterator[Node]:
    node = Node(own)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def give(node: Node, document: dict[str, Any], *, revision: int) -> Report:
    """Hands a node a document; returns what it says of it."""
    reports: list[Report] = []
    node._settling.follow(reports.append)
    node._settling.take(wanted(document, revision=revision), parent=PARENT)
    until(lambda: any(report.revision == revision for report in reports))
    return reports[-1]


def test_pipelines_come_and_go_and_the_others_run_on(node: Node) -> None:
    porch = node.pipelines["porch"]
    report = give(node, {"pipelines": {"porch": UPLOAD, "yard": UPLOAD}, "rules": [LOCK]}, revision=1)
    assert report.right
    assert node.pipelines["porch"] is porch
    assert porch.state().phase == node.pipelines["yard"].state().phase == "running"
    yard = node.pipelines["yard"]
    give(node, {"pipelines": {"porch": UPLOAD, "yard": {**UPLOAD, "queue": 3}}}, revision=2)
    assert node.pipelines["yard"] is not yard
    assert yard.state().phase == "stopped"
    assert [rule.name for rule in node.settings.rules] == ["open"]  # the document says nothing of rules any more
    give(node, {"pipelines": {}}, revision=3)
    assert node.pipelines == node.settings.pipelines == {}


def test_a_pipeline_that_cannot_be_made_leaves_the_one_before(node: Node) -> None:
    porch = node.pipelines["porch"]
    detect = {**UPLOAD, "transforms": [{"kind": "detect", "model": "no-such-model"}]}
    report = give(node, {"pipelines": {"porch": detect}, "models": ["no-such-model"]}, revision=1)
    assert [section.problems[0].what for section in report.sections] == ["models.no-such-model", "pipelines.porch"]
    assert node.pipelines["porch"] is porch
    assert porch.state().phase == "running"


def test_the_new_rules_decide_what_comes_after_them_and_are_told_as_they_are(node: Node) -> None:
    give(node, {"rules": [LOCK]}, revision=1)
    node.accept(Event("face.known", "porch", node.clock.time_ns(), {"name": "Ada"}))
    node.accept(Event("face.unknown", "porch", node.clock.time_ns(), {}))
    assert node.journal.wait(DECISIONS, after=0, timeout_s=PATIENCE_S) == 1
    [decision] = node.journal.read(DECISIONS)
    assert decision.body["rule"] == "close"
    assert decision.body["rule_text"]["do"][0]["command"] == "lock"


def test_a_node_starts_with_what_was_wanted_and_not_with_what_was_before(
    own: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = organs.make_pipeline
    monkeypatch.setattr(
        organs, "make_pipeline", lambda name, *rest, **named: made.append(name) or make(name, *rest, **named)
    )
    file = tmp_path / "data" / "link" / "desired.json"
    settling = Settling(file, own=own, parent="", clock=ManualClock())
    settling.take(wanted({"pipelines": {"yard": UPLOAD}, "rules": []}), parent="")
    node = Node(own)
    try:
        node.start()
        assert list(node.pipelines) == made == ["yard"]
        assert node.settings.rules == ()
    finally:
        node.stop()


def test_a_node_that_stops_takes_no_step_any_more(node: Node) -> None:
    node.stop()
    with pytest.raises(ClosedError):
        node.carry_out(Step(Kind.RULES), node.settings)


def test_shape_and_settings_say_the_same(own: Settings) -> None:
    assert shape_of(own) == Shape(own.pipelines, own.rules, own.models, own.parent)
