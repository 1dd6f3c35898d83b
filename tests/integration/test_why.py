"""From a picture to a decision, and back: why it was made, done again by the same models on the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgewise.cli import run
from edgewise.errors import NotFoundError, SettingsError
from edgewise.journal.blobs import BlobStore
from edgewise.journal.cipher import make_key
from edgewise.node import organs
from edgewise.node.node import Node
from edgewise.node.settings import Settings, load
from edgewise.node.why import Explanation, Verdict
from edgewise.pipeline.base import Pushable
from edgewise.testing.packages import write_classifier
from edgewise.testing.pipeline import picture
from edgewise.types import Record

PATIENCE_S = 20.0
SETTINGS = """
node: {name: home, data: data}
models: [MODELS/colours]
pipelines:
  belt:
    source: {kind: upload}
    transforms: [{kind: classify, model: colours, event: colour}]
devices:
  gate: {kind: lock}
  lamp: {kind: light}
rules:
  - {name: light-up, on: colour.*, when: event.body.score > 0.2, do: [{device: lamp, command: turn_on}]}
"""


def write(folder: Path, text: str = SETTINGS) -> Path:
    file = folder / "edgewise.yaml"
    file.write_text(text.replace("MODELS", str(folder / "models")))
    return file


def live(settings: Settings, *greys: int) -> list[Record]:
    """A node sees these pictures one after the other; the decisions it has made since it first ran."""
    node = Node(settings)
    try:
        node.start()
        source = node.pipelines["belt"].source
        assert isinstance(source, Pushable)
        for grey in greys:
            before = node.journal.read("decisions", limit=1, newest_first=True)
            source.push(picture(grey))
            newest = before[0].sequence if before else 0
            assert node.journal.wait("decisions", after=newest, timeout_s=PATIENCE_S) > newest
        return [record for record in node.journal.read("decisions") if record.body.get("rule")]
    finally:
        node.stop()


def explain(settings: Settings, sequence: int = 1) -> Explanation:
    with organs.open_explainer(settings) as explainer:
        return explainer.explain(sequence)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_classifier(tmp_path / "models")
    return write(tmp_path)


@pytest.fixture
def settings(file: Path) -> Settings:
    return load(file, environment={})


def test_a_decision_holds_what_it_rests_on_and_comes_out_the_same_again(settings: Settings) -> None:
    (decision,) = live(settings, 200)
    evidence: dict[str, Any] = decision.body["evidence"]
    (step,) = evidence["steps"]
    (model,) = step["models"]
    assert (step["kind"], step["settings"]["min_score"]) == ("classify", 0.0)
    assert len(model["artifact"]) == len(model["manifest"]) == len(evidence["input"]) == 64
    assert model["preprocessing"]
    assert decision.body["rule_text"]["when"] == "event.body.score > 0.2"
    explanation = explain(settings)
    assert [(step.what, step.verdict) for step in explanation.seen] == [("classify", Verdict.SAME)]
    assert [(told.rule, told.again.verdict, told.remarks) for told in explanation.decisions] == [
        ("light-up", Verdict.SAME, ())
    ]
    assert explanation.same


def test_each_event_has_its_own_decisions(settings: Settings) -> None:
    live(settings, 30, 200, 120)
    found = [explain(settings, sequence) for sequence in (1, 2, 3)]
    assert [[told.record.body["event"]["sequence"] for told in each.decisions] for each in found] == [[1], [2], [3]]
    with pytest.raises(NotFoundError):
        explain(settings, 4)


def test_another_rule_or_none_is_remarked_but_the_old_one_is_done_again(settings: Settings, tmp_path: Path) -> None:
    live(settings, 200)
    stricter = load(write(tmp_path, SETTINGS.replace("> 0.2", "> 0.9999")), environment={})
    (told,) = explain(stricter).decisions
    assert (told.again.verdict, told.remarks) == (Verdict.SAME, ("the rule is another one now",))
    none = load(write(tmp_path, SETTINGS[: SETTINGS.index("rules:")]), environment={})
    (told,) = explain(none).decisions
    assert told.remarks == ("the node has no such rule any more",)


def test_a_model_that_was_exchanged_is_not_taken_for_the_one_that_decided(settings: Settings, tmp_path: Path) -> None:
    live(settings, 200)
    manifest = tmp_path / "models" / "colours" / "model.yaml"
    manifest.write_text(manifest.read_text().replace("summary: A model", "summary: Another model"))
    (step,) = explain(settings).seen
    assert (step.verdict, "its manifest is another one" in step.note) == (Verdict.NOT_REPEATED, True)


def test_a_result_that_somebody_wrote_into_the_event_is_found(settings: Settings) -> None:
    live(settings, 200)
    with organs.open_explainer(settings) as explainer:
        event = explainer._journal.read("events")[0]
        body = msgspec.to_builtins(event.body)
        body["evidence"]["facts"]["classify"]["score"] = 0.123
        forged = msgspec.structs.replace(event, body=body)
        read = explainer._journal.read

        class Forged:
            def read(self, stream: str, **options: Any) -> list[Record]:
                return [forged] if stream == "events" else read(stream, **options)

        explainer._journal = Forged()
        explanation = explainer.explain(1)
    assert not explanation.same
    assert [step.verdict for step in explanation.seen] == [Verdict.DIFFERENT]
    assert explanation.decisions[0].remarks == ("the event's record was changed since",)


def test_what_is_sealed_at_rest_is_explained_with_the_key_and_not_without(tmp_path: Path, file: Path) -> None:
    make_key(tmp_path / "node.key")
    file.write_text(file.read_text() + "journal: {key_file: node.key}\n")
    (decision,) = live(load(file, environment={}), 200)
    (stored,) = (tmp_path / "data" / "journal" / "blobs").glob(f"??/{decision.body['evidence']['input']}*")
    assert b"PNG" not in stored.read_bytes()
    assert explain(load(file, environment={})).same
    (tmp_path / "node.key").rename(tmp_path / "elsewhere.key")
    with pytest.raises(SettingsError, match="no key in"):
        explain(load(file, environment={}))


def test_without_its_picture_an_event_is_told_but_not_repeated(settings: Settings) -> None:
    (decision,) = live(settings, 200)
    blobs = BlobStore(Path(settings.node.data) / "journal" / "blobs")
    blobs.path(decision.body["evidence"]["input"]).unlink()
    explanation = explain(settings)
    assert [step.verdict for step in explanation.seen] == [Verdict.NOT_REPEATED]
    assert "gone" in explanation.seen[0].note
    assert explanation.decisions[0].again.verdict is Verdict.SAME


def test_events_that_nobody_listens_to_keep_no_evidence(tmp_path: Path, file: Path) -> None:
    quiet = load(write(tmp_path, SETTINGS.replace("colour.*", "face.known")), environment={})
    node = Node(quiet)
    try:
        node.start()
        node.pipelines["belt"].source.push(picture(200))  # type: ignore[attr-defined]
        assert node.journal.wait("events", after=0, timeout_s=PATIENCE_S) == 1
        (event,) = node.journal.read("events")
    finally:
        node.stop()
    assert "evidence" not in event.body
    (step,) = explain(quiet).seen
    assert step.verdict is Verdict.NOT_REPEATED


def test_the_commands_tell_it_and_end_with_the_answer(
    settings: Settings, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live(settings, 200)
    assert run(["why", "1", "--config", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "because event.body.score was" in shown
    assert "lamp: turn_on" in shown
    assert run(["audit", "--config", str(file)]) == 0
    assert "decisions sealed with key" in capsys.readouterr().out
    head = Path(settings.node.data) / "trust" / "decisions.head"
    head.unlink()
    assert run(["audit", "--config", str(file)]) == 1
    assert "how far the chain goes is gone" in capsys.readouterr().out
    assert run(["why", "7", "--config", str(file)]) == 6
