"""From scores to events of sound: speech with hysteresis, wake words once, commands only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgewise.errors import SettingsError
from edgewise.models.manifest import Input, Manifest, Output, Variant, Window
from edgewise.models.model import Model
from edgewise.models.package import save
from edgewise.pipeline.base import Event, Observation, Sound, Tools
from edgewise.pipeline.transforms.command import Command, CommandDecider, CommandSettings
from edgewise.pipeline.transforms.voice_activity import SpeechState, VoiceActivity, VoiceActivitySettings, step
from edgewise.pipeline.transforms.wake_word import WakeWord, WakeWordSettings

PIECE = 320
"""Samples: 20 ms. The models here listen to one piece at a time, so a score is a piece's."""


def listener(folder: Path, *, task: dict[str, Any], scores: int, length: int = PIECE) -> Path:
    """A model that hears levels: one score is the mean of a window; several are of "on" (loud) and "off" (negative)."""
    folder.mkdir()
    nodes = [helper.make_node("ReduceMean", ["window"], ["mean"], axes=[1], keepdims=1)]
    if scores == 1:
        nodes.append(helper.make_node("Identity", ["mean"], ["scores"]))
        initializers = []
    else:
        weights = np.array([[20, -20, 0]], np.float32)
        bias = np.array([0, 0, 8], np.float32)
        nodes += [helper.make_node("MatMul", ["mean", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["scores"])]
        initializers = [onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(bias, "b")]
        (folder / "labels.txt").write_text("on\noff\n_silence\n")
    graph = helper.make_graph(
        nodes,
        "listener",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", length])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", scores])],
        initializers,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "model.onnx"
    )
    spec = Input("window", "FP32", (-1, length), "audio", (Window(length),), rate_hz=16_000, step=PIECE)
    save(
        folder,
        Manifest(
            name=folder.name,
            version="1",
            licence="MIT",
            task=task,
            inputs=(spec,),
            outputs=(Output("scores", "FP32", (-1, scores)),),
            variants=(Variant("onnx", "onnxruntime", "model.onnx"),),
        ),
    )
    return folder


class Shelf:
    """Lends the models of a test."""

    def __init__(self, folder: Path) -> None:
        words = {"kind": "words", "labels": "labels.txt", "threshold": 0.8, "mean_of": 2}
        phrase = {"kind": "score", "label": "hey you", "threshold": 0.5, "mean_of": 2}
        single = {**phrase, "mean_of": 1}
        self.models = {
            "words": Model.open(listener(folder / "words", task=words, scores=3)),
            "phrase": Model.open(listener(folder / "phrase", task=phrase, scores=1)),
            "long": Model.open(listener(folder / "long", task=single, scores=1, length=2 * PIECE)),
        }

    def model(self, name: str) -> Model:
        return self.models[name]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    shelf = Shelf(tmp_path_factory.mktemp("models"))
    yield cast("Tools", shelf)
    for model in shelf.models.values():
        model.close()


def pieces(levels: Sequence[float], *, first: int = 1) -> list[Sound]:
    return [
        Sound("hall", first + index, index * 20_000_000, np.full(PIECE, level, np.float32), 16_000)
        for index, level in enumerate(levels)
    ]


def events(transform: Any, sounds: Sequence[Sound], given: dict[int, Event] | None = None) -> list[tuple[int, Event]]:
    """Events by the index of the piece in which they came."""
    found = []
    for index, sound in enumerate(sounds):
        before = ((given or {})[index],) if index in (given or {}) else ()
        after = transform.apply(Observation(sound, events=before)).events[len(before) :]
        found += [(index, event) for event in after]
    return found


def kinds(found: Sequence[tuple[int, Event]]) -> list[tuple[int, str]]:
    return [(index, event.kind) for index, event in found]


class TestSpeech:
    settings = VoiceActivitySettings("phrase", threshold=0.5, release=0.3, min_speech_s=0.06, min_silence_s=0.1)

    def test_it_begins_when_it_lasts_and_ends_when_it_stays_away(self, tools: Tools) -> None:
        levels = [0, 0, 0.9, 0.9, 0.9, 0.9, *[0.0] * 10]
        found = events(VoiceActivity(self.settings, tools), pieces(levels))
        assert kinds(found) == [(4, "speech.started"), (10, "speech.ended")]
        assert found[1][1].body == {"seconds": 0.08}

    def test_a_click_and_a_breath_make_no_event(self, tools: Tools) -> None:
        levels = [0, 0.9, 0, 0.9, 0.9, 0.9, 0.9, 0, 0, 0.9, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]
        assert kinds(events(VoiceActivity(self.settings, tools), pieces(levels))) == [(5, "speech.started")]

    def test_a_gap_ends_it(self, tools: Tools) -> None:
        transform = VoiceActivity(self.settings, tools)
        assert kinds(events(transform, pieces([0.9] * 6))) == [(2, "speech.started")]
        after = events(transform, pieces([0.0] * 3, first=20))
        assert kinds(after) == [(0, "speech.ended")]
        assert after[0][1].body == {"seconds": 0.12}

    def test_what_is_going_on_stands_in_the_facts(self, tools: Tools) -> None:
        transform = VoiceActivity(self.settings, tools)
        facts = [transform.apply(Observation(piece)).facts["voice_activity"] for piece in pieces([0.9] * 3)]
        assert [fact["speaking"] for fact in facts] == [False, False, True]
        assert facts[2]["score"] == pytest.approx(0.9, abs=1e-4)

    def test_a_release_above_the_threshold_is_refused(self) -> None:
        with pytest.raises(ValueError, match="release"):
            VoiceActivitySettings("phrase", threshold=0.5, release=0.6)

    @given(st.lists(st.floats(0, 1), max_size=80))
    def test_it_begins_and_ends_in_turn_and_nothing_is_shorter_than_allowed(self, scores: list[float]) -> None:
        state, changes = SpeechState(), []
        for index, score in enumerate(scores):
            before = state
            state = step(self.settings, state, score, before_s=index * 0.02, end_s=(index + 1) * 0.02)
            if state.speaking != before.speaking:
                changes.append((state.speaking, index))
        assert [speaking for speaking, _ in changes] == [index % 2 == 0 for index in range(len(changes))]
        for speaking, index in changes:
            lasted = scores[index - 2 : index + 1] if speaking else scores[index - 4 : index + 1]
            assert all(score >= 0.5 if speaking else score < 0.3 for score in lasted)


class TestWakeWord:
    settings = WakeWordSettings("phrase", quiet_s=0.2)

    def test_it_is_heard_once_and_only_if_it_lasts(self, tools: Tools) -> None:
        levels = [0, 0.7, 0, 0, 0.9, 0.9, 0.9, 0.9, *[0.0] * 10, 0.9, 0.9]
        found = events(WakeWord(self.settings, tools), pieces(levels))
        assert kinds(found) == [(5, "wake_word.heard"), (19, "wake_word.heard")]
        assert found[0][1].body == {"phrase": "hey you", "score": pytest.approx(0.9, abs=1e-3)}

    def test_two_halves_with_a_gap_between_them_are_no_word(self, tools: Tools) -> None:
        transform = WakeWord(self.settings, tools)
        assert events(transform, pieces([0, 0.9])) == []
        assert events(transform, pieces([0.9, 0], first=9)) == []

    def test_a_window_never_spans_a_gap(self, tools: Tools) -> None:
        transform = WakeWord(WakeWordSettings("long"), tools)
        assert events(transform, pieces([0.0, 0.9])) == []
        assert events(transform, pieces([0.9], first=9)) == []
        assert kinds(events(transform, pieces([0.9], first=10))) == [(0, "wake_word.heard")]

    def test_a_threshold_of_ones_own_counts(self, tools: Tools) -> None:
        strict = WakeWord(WakeWordSettings("phrase", threshold=0.95), tools)
        assert events(strict, pieces([0.9] * 5)) == []


def woken(index: int) -> dict[int, Event]:
    return {index: Event("wake_word.heard", "hall", 0, {"phrase": "hey you", "score": 1.0})}


class TestCommand:
    def test_without_the_wake_word_nothing_is_a_command(self, tools: Tools) -> None:
        transform = Command(CommandSettings("words"), tools)
        assert events(transform, pieces([0.9] * 10)) == []

    def test_after_the_wake_word_one_command_is_taken(self, tools: Tools) -> None:
        transform = Command(CommandSettings("words", quiet_s=0.1), tools)
        levels = [0.0, 0.9, 0.0, 0.0, -0.9, -0.9, 0.0, 0.9, 0.9]
        found = events(transform, pieces(levels), given=woken(3))
        assert kinds(found) == [(5, "voice.command")]
        body = dict(found[0][1].body)
        assert body.pop("score") > 0.9
        assert body == {"word": "off", "wake_word": "hey you"}

    def test_it_stops_listening_after_some_seconds(self, tools: Tools) -> None:
        transform = Command(CommandSettings("words", listen_s=1.0), tools)
        assert events(transform, pieces([0.0] * 60 + [0.9] * 3), given=woken(2)) == []

    def test_half_a_word_of_the_last_time_counts_no_more(self, tools: Tools) -> None:
        transform = Command(CommandSettings("words", listen_s=1.0), tools)
        levels = [0.0, 0.9, *[0.0] * 60, 0.9, 0.0]
        levels[52] = 0.9  # the last piece of the first second
        found = events(transform, pieces(levels), given={**woken(2), **woken(62)})
        assert found == []

    def test_always_listening_hears_each_word_once(self, tools: Tools) -> None:
        transform = Command(CommandSettings("words", listen="always", quiet_s=0.2), tools)
        found = events(transform, pieces([0.9] * 5 + [0.0] * 10 + [-0.9] * 4))
        assert [(index, event.body["word"]) for index, event in found] == [(1, "on"), (16, "off")]

    def test_words_that_are_not_wanted_are_passed_over(self, tools: Tools) -> None:
        transform = Command(CommandSettings("words", listen="always", words=("off",)), tools)
        assert events(transform, pieces([0.9] * 4)) == []
        with pytest.raises(SettingsError, match="knows no word 'of'"):
            Command(CommandSettings("words", words=("of",)), tools)

    def test_after_a_gap_it_begins_anew(self, tools: Tools) -> None:
        transform = Command(CommandSettings("words", listen="always"), tools)
        assert events(transform, pieces([0.9])) == []
        assert events(transform, pieces([0.9, 0.0], first=7)) == []

    def test_silence_and_other_words_are_no_commands(self) -> None:
        decider = CommandDecider(threshold=0.5, mean_of=1, quiet_s=0.1)
        assert decider.add({"on": 0.1, "_unknown": 0.9}, 0.0) is None
        assert decider.add({"on": 0.55, "_unknown": 0.45}, 0.1) is not None


def test_a_model_that_takes_pictures_cannot_listen(tools: Tools, tmp_path: Path) -> None:
    import edgewise

    with edgewise.load("cifar10-resnet") as model:
        shelf = cast("Tools", type("Pictures", (), {"model": lambda self, name: model})())
        with pytest.raises(Exception, match="does not listen"):
            WakeWord(WakeWordSettings("x"), shelf).apply(Observation(pieces([0.0])[0]))
