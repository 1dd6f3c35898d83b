"""Listening: a stream gives the same as the whole file, however the sound is cut, and what is remembered is data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgewise.errors import InputError, PackageError, TensorError
from edgewise.media import sound
from edgewise.models import golden
from edgewise.models.manifest import (
    Input,
    Layout,
    LogMel,
    Manifest,
    Mfcc,
    MicroFeatures,
    Normalise,
    Operation,
    Output,
    Quantise,
    State,
    Variant,
    Window,
)
from edgewise.models.model import Model
from edgewise.models.package import check, dump_manifest, parse_manifest, save
from edgewise.models.preprocess import Preprocessor
from edgewise.types import Classification
from edgewise.zoo.builders.base import SOUNDS

SPEECH = SOUNDS / "wake-words.flac"
FEATURES: dict[str, tuple[Operation, int, int, int]] = {
    "log_mel": (LogMel(bins=40), 40, 160, 400),
    "mfcc": (Mfcc(bins=26, coefficients=13), 13, 160, 400),
    "micro_features": (MicroFeatures(), 40, 160, 480),
}


def audio(*operations: Operation, shape: tuple[int, ...], **fields: Any) -> Input:
    return Input("x", fields.pop("datatype", "FP32"), shape, "audio", operations, rate_hz=16_000, **fields)


@pytest.mark.parametrize("name", FEATURES)
@given(data=st.data())
@settings(max_examples=25)
def test_features_of_a_stream_are_those_of_the_whole(name: str, data: st.DataObject) -> None:
    operation, width, step, frame = FEATURES[name]
    preprocessor = Preprocessor(audio(operation, shape=(-1, -1, width)))
    samples = sound.read(SPEECH)[:12_000]
    whole = preprocessor(samples).tensor[0]
    assert whole.shape == ((len(samples) - frame) // step + 1, width)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(samples)), max_size=20)))
    front = preprocessor.front()
    pieces = [front.feed(piece) for piece in np.split(samples, cuts)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_log_mel_is_the_energy_of_mel_bands() -> None:
    """A tone lights up the bin whose triangle it lies in, ten times the amplitude is ln(100) more."""
    preprocessor = Preprocessor(audio(LogMel(bins=40, low_hz=20, high_hz=8000), shape=(-1, -1, 40)))
    tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16_000).astype(np.float32)
    loud, quiet = (preprocessor(tone * level).tensor[0].mean(0) for level in (0.5, 0.05))
    mel = 1127 * np.log(1 + np.array([20, 8000, 1000]) / 700)
    assert loud.argmax() == pytest.approx((mel[2] - mel[0]) / (mel[1] - mel[0]) * 41 - 1, abs=1)
    assert loud.max() - quiet.max() == pytest.approx(np.log(100), abs=0.01)


def test_a_clip_is_cut_to_its_middle_or_filled_and_quantised() -> None:
    preprocessor = Preprocessor(
        audio(MicroFeatures(), Window(3), Quantise(0.1, -128), shape=(1, 3, 40), datatype="INT8")
    )
    assert preprocessor(sound.read(SPEECH)).tensor.shape == (1, 3, 40)
    short = preprocessor(np.zeros(100, np.float32)).tensor
    assert short.dtype == np.int8
    assert (short == -128).all()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (audio(Window(3), LogMel(), shape=(-1, 3, 40)), "must be the first operation"),
        (Input("x", "FP32", (-1, -1, 40), "audio", (LogMel(),)), "needs a whole rate"),
        (Input("x", "FP32", (-1, -1, 40), "audio", (MicroFeatures(),), rate_hz=8000), "made at 16000 Hz"),
        (audio(LogMel(high_hz=9000), shape=(-1, -1, 40)), "at most at 8000"),
        (audio(LogMel(), shape=(-1, -1, 41)), "preprocessing makes"),
        (audio(LogMel(), shape=(-1, -1, 40), step=3), "at most the 'window'"),
        (audio(LogMel(), Window(3), shape=(-1, 3, 40), step=4), "at most the 'window'"),
        (audio(Window(3), shape=(-1, 3), step=3, lead=3), "less than the window"),
        (audio(LogMel(), Normalise((0.0, 1.0), (1.0,)), shape=(-1, -1, 40)), "each of 40 channels"),
        (audio(LogMel(), Layout("NCHW"), shape=(-1, -1, 40)), "does not apply"),
    ],
)
def test_operations_that_make_no_sense_are_refused(spec: Input, told: str) -> None:
    with pytest.raises(PackageError, match=told):
        Preprocessor(spec)


@pytest.mark.parametrize("raw", [np.zeros((10, 2)), np.zeros(0), np.full(10, 1.5), np.array([np.nan])])
def test_what_is_no_sound_is_refused(raw: np.ndarray) -> None:
    with pytest.raises(TensorError):
        Preprocessor(audio(LogMel(), shape=(-1, -1, 40)))(raw)


def counter(folder: Path, *, step: int = 160, lead: int = 40) -> Path:
    """A package that remembers: its score is the mean of all windows so far, added up in its state."""
    folder.mkdir()
    window = helper.make_tensor_value_info("window", TensorProto.FLOAT, [1, step + lead])
    before = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 1])
    after = helper.make_tensor_value_info("next_sum", TensorProto.FLOAT, [1, 1])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1])
    nodes = [
        helper.make_node("ReduceMean", ["window"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Add", ["mean", "sum"], ["next_sum"]),
        helper.make_node("Identity", ["next_sum"], ["score"]),
    ]
    graph = helper.make_graph(nodes, "counter", [window, before], [score, after])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    save(
        folder,
        Manifest(
            name="counter",
            version="1",
            licence="MIT",
            task={"kind": "score", "label": "loud", "output": "score"},
            inputs=(
                Input(
                    "window",
                    "FP32",
                    (1, step + lead),
                    "audio",
                    (Window(step + lead),),
                    rate_hz=16_000,
                    step=step,
                    lead=lead,
                ),
                Input("sum", "FP32", (1, 1)),
            ),
            outputs=(Output("score", "FP32", (1, 1)), Output("next_sum", "FP32", (1, 1))),
            variants=(Variant("onnx", "onnxruntime", "model.onnx"),),
            state=(State("sum", "next_sum", 10.0),),
        ),
    )
    return folder


def heard_by(model: Model, pieces: list[np.ndarray], rate: int | None = None) -> list[tuple[float, float]]:
    stream = model.stream(rate=rate)
    found = []
    for piece in pieces:
        for heard in stream.feed(piece) if len(piece) else []:
            assert isinstance(heard.result, Classification)
            found.append((heard.end_s, heard.result.labels[0].score))
    return found


@given(st.lists(st.integers(0, 900), min_size=1, max_size=10))
@settings(max_examples=30)
def test_what_a_model_hears_does_not_depend_on_how_sound_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "counter"
    samples = np.random.default_rng(1).uniform(-1, 1, 1600).astype(np.float32)
    with Model.open(folder if folder.exists() else counter(folder)) as model:
        whole = heard_by(model, [samples])
        assert heard_by(model, np.split(samples, sorted(cuts))) == whole
    assert [end for end, _ in whole] == pytest.approx([0.01 * (n + 1) for n in range(10)])
    windows = [np.concatenate([np.zeros(40, np.float32), samples])[n * 160 : n * 160 + 200] for n in range(10)]
    assert [score for _, score in whole] == pytest.approx(10 + np.cumsum([w.mean() for w in windows]), abs=1e-4)


def test_two_streams_of_one_model_know_nothing_of_each_other_and_a_reset_begins_anew(tmp_path: Path) -> None:
    ones, zeros = np.ones(160, np.float32), np.zeros(160, np.float32)
    with Model.open(counter(tmp_path / "counter")) as model:
        one, other = model.stream(), model.stream()
        one.feed(ones)
        first = other.feed(zeros)
        assert one.feed(zeros) != first
        one.reset()
        assert one.feed(zeros) == first


def test_a_stream_at_another_rate_is_changed_to_the_models(tmp_path: Path) -> None:
    with Model.open(counter(tmp_path / "counter")) as model:
        found = heard_by(model, [np.full(4800, 0.5, np.float32)], rate=48_000)
    assert 8 <= len(found) <= 10


def test_a_clip_is_heard_whole_and_the_largest_score_counts(tmp_path: Path) -> None:
    samples = np.concatenate([np.full(480, 0.5), np.full(480, -0.5)]).astype(np.float32)
    with Model.open(counter(tmp_path / "counter")) as model:
        result = model.predict(samples).result
        assert isinstance(result, Classification)
        assert result.labels[0].score == pytest.approx(max(score for _, score in heard_by(model, [samples])))
        short = model.predict(np.full(3, 0.5, np.float32)).result
        assert isinstance(short, Classification)


def test_golden_data_holds_what_is_remembered(tmp_path: Path) -> None:
    folder = counter(tmp_path / "counter")
    source = folder / "golden" / "speech.flac"
    source.parent.mkdir()
    source.write_bytes(SPEECH.read_bytes())
    with Model.open(folder) as model:
        cases = (
            golden.record(model, source, "golden/first.npz"),
            golden.record_later(model, source, "golden/later.npz", windows=50),
        )
        manifest = model.manifest
        with pytest.raises(InputError, match="fewer than"):
            golden.record_later(model, source, "golden/never.npz", windows=100_000)
    with np.load(folder / "golden/later.npz") as later:
        assert later["input.sum"] != 10.0
    save(folder, msgspec.structs.replace(manifest, golden=cases))
    assert check(folder).passed
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("lead: 40", "lead: 30"))
    assert check(folder).passed  # what lies before a stream is no part of a single window


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("input: sum", "input: som", "no input is named 'som'"),
        ("output: next_sum", "output: nothing", "no output is named"),
        ("output: next_sum", "output: score", None),
        ("step: 160", "step: 0", "takes one other input"),
        ("- name: sum\n  datatype: FP32", "- name: sum\n  datatype: FP64", "one datatype and shape"),
    ],
)
def test_a_state_that_is_no_pair_is_refused(tmp_path: Path, old: str, new: str, told: str | None) -> None:
    text = (counter(tmp_path / "counter") / "model.yaml").read_text()
    changed = text.replace(old, new) if "state:" not in old else text
    assert changed != text
    if told is None:
        assert parse_manifest(changed).state[0].output == "score"
        return
    with pytest.raises(PackageError, match=told):
        parse_manifest(changed)


def test_a_model_that_does_not_listen_says_so(tmp_path: Path) -> None:
    folder = counter(tmp_path / "counter")
    text = (folder / "model.yaml").read_text()
    manifest = parse_manifest(text)
    deaf = msgspec.structs.replace(
        manifest, inputs=(msgspec.structs.replace(manifest.inputs[0], step=0, lead=0), manifest.inputs[1]), state=()
    )
    (folder / "model.yaml").write_text(dump_manifest(deaf))
    with Model.open(folder) as model, pytest.raises(InputError, match="does not listen"):
        model.stream()
