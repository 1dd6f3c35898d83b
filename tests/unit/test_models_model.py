"""``Model``: raw input of any form in, typed results out, from any number of threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgewise.errors import (
    ClosedError,
    CorruptError,
    DecodeError,
    EngineError,
    InputError,
    MissingExtraError,
    NotFoundError,
    PackageError,
    TensorError,
)
from edgewise.media import images
from edgewise.models import package
from edgewise.models.manifest import (
    Input,
    Layout,
    Manifest,
    Normalise,
    Operation,
    Output,
    Resize,
    Variant,
    Window,
)
from edgewise.models.model import MAX_BATCH, Model, choose_variant
from edgewise.runtimes.base import SessionOptions
from edgewise.types import Classification

ModelMaker = Callable[..., Model]


def fake(inputs: dict[str, list[int]], outputs: dict[str, list[int]], **more: Any) -> bytes:
    def specs(tensors: dict[str, list[int]]) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in tensors.items()]

    return json.dumps({"inputs": specs(inputs), "outputs": specs(outputs), **more}).encode()


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes and opens packages around the fake runtime; closes them at the end."""
    opened: list[Model] = []

    def build(
        *inputs: Input,
        outputs: dict[str, list[int]],
        artifact: bytes,
        task: dict[str, Any] | None = None,
        variant: Variant | None = None,
        labels: str = "",
    ) -> Model:
        folder = tmp_path / f"package-{len(opened)}"
        folder.mkdir()
        (folder / "model.json").write_bytes(artifact)
        task = task or {"kind": "classification", "activation": "none"}
        if labels:
            (folder / "labels.txt").write_text(labels)
            task = {**task, "labels": "labels.txt"}
        manifest = Manifest(
            name="made",
            version="3",
            licence="MIT",
            task=task,
            inputs=inputs,
            outputs=tuple(Output(name, "FP32", tuple(shape)) for name, shape in outputs.items()),
            variants=(variant or Variant("echo", "fake", "model.json"),),
        )
        package.save(folder, manifest)
        opened.append(Model.open(folder))
        return opened[-1]

    yield build
    for model in opened:
        model.close()


def series_model(make: ModelMaker, *, batch: int = -1) -> Model:
    """Gives back the last window of two channels, flattened, as the scores of six classes."""
    shape = [batch, 3, 2]
    return make(
        Input("x", "FP32", tuple(shape), "series", (Window(3),), ("left", "right")),
        outputs={"y": shape},
        artifact=fake({"x": shape}, {"y": shape}),
        labels="a\nb\nc\nd\ne\nf\n",
    )


def picture_model(make: ModelMaker, *operations: Operation) -> Model:
    """Gives back a picture of one pixel as the scores of red, green and blue."""
    return make(
        Input("x", "FP32", (-1, 3, 1, 1), "image", (Resize(1, 1, "area"), Normalise((0,), (255,)), Layout("NCHW"))),
        outputs={"y": [-1, 3, 1, 1]},
        artifact=fake({"x": [-1, 3, 1, 1]}, {"y": [-1, 3, 1, 1]}),
        labels="red\ngreen\nblue\n",
    )


def best(result: object) -> str:
    assert isinstance(result, Classification)
    return result.labels[0].name


def colour(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((9, 7, 3), (red, green, blue), np.uint8)


# Forms of input


def test_a_picture_may_be_a_path_bytes_or_an_array(make: ModelMaker, tmp_path: Path) -> None:
    model = picture_model(make)
    picture = colour(10, 200, 50)
    place = tmp_path / "grass.png"
    place.write_bytes(images.encode_png(picture))
    forms = [place, str(place), place.read_bytes(), bytearray(place.read_bytes()), picture, WithArray(picture)]
    for raw in forms:
        assert best(model.predict(raw).result) == "green"


class WithArray:
    """As Pillow's pictures are: an array on demand."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self._array


def test_a_series_may_be_lists_an_array_npy_or_csv(make: ModelMaker, tmp_path: Path) -> None:
    model = series_model(make)
    values = [[0.0, 0.1], [0.9, 0.0], [0.2, 0.3]]
    np.save(tmp_path / "walk.npy", np.array(values))
    (tmp_path / "walk.csv").write_text("left,right\n0,0.1\n0.9,0\n0.2,0.3\n")
    for raw in (
        values,
        np.array(values),
        np.array(values, np.float32),
        tmp_path / "walk.npy",
        str(tmp_path / "walk.csv"),
        (tmp_path / "walk.npy").read_bytes(),
        (tmp_path / "walk.csv").read_bytes(),
    ):
        assert best(model.predict(raw).result) == "c"


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", DecodeError),
        (b"left,right\n1,x\n", DecodeError),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0", DecodeError),
        (b"\x93NUMPY\x01\x00", DecodeError),
        (b"1,nan\n", TensorError),
        ("nowhere.csv", NotFoundError),
        (None, TensorError),
        (3.5, TensorError),
        ({"y": [[1, 2]]}, TensorError),
        ({}, TensorError),
    ],
)
def test_what_is_no_series_is_refused(make: ModelMaker, raw: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        series_model(make).predict(raw)


def test_a_model_with_two_inputs_takes_a_dict(make: ModelMaker) -> None:
    inputs = {"a": [1, 2], "b": [1, 3]}
    model = make(
        *(Input(name, "FP32", tuple(shape)) for name, shape in inputs.items()),
        outputs=inputs,
        artifact=fake(inputs, inputs),
        task={"kind": "classification", "output": "b", "activation": "none"},
    )
    assert best(model.predict({"a": [[0, 1]], "b": [[0, 2, 1]]}).result) == "1"
    with pytest.raises(TensorError, match="takes 2 inputs"):
        model.predict([[0, 1]])
    with pytest.raises(TensorError, match="'b' is missing"):
        model.predict({"a": [[0, 1]]})


# Options for one call


def test_options_of_the_task_can_be_changed_for_one_call(make: ModelMaker) -> None:
    model = series_model(make)
    values = [[0.0, 0.1], [0.9, 0.0], [0.2, 0.3]]
    for top in (1, 2, 1):
        result = model.predict(values, top=top).result
        assert isinstance(result, Classification)
        assert len(result.labels) == top
    result = model.predict(values).result
    assert isinstance(result, Classification)
    assert len(result.labels) == 5


@pytest.mark.parametrize("options", [{"top": 0}, {"top": "many"}, {"top": [1]}, {"labels": "x"}, {"tpo": 3}])
def test_options_that_cannot_be_changed_are_refused(make: ModelMaker, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        series_model(make).predict([[0.0, 0.1]], **options)


def test_decoders_with_changed_options_do_not_pile_up(make: ModelMaker) -> None:
    model = series_model(make)
    for number in range(100):
        model.predict([[0.0, 0.1]], threshold=number / 1000)
    assert len(model._tuned) <= 16


# Batches


class CountingSession:
    """Counts engine calls."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def infer(self, inputs: Any, outputs: Any = None) -> Any:
        self.sizes.append(len(next(iter(inputs.values()))))
        return self._session.infer(inputs, outputs)


@pytest.mark.parametrize("batch", [-1, 1])
def test_a_batch_gives_what_its_items_give_one_by_one(make: ModelMaker, batch: int) -> None:
    model = series_model(make, batch=batch)
    random = np.random.default_rng(0)
    items = [random.uniform(size=(length, 2)) for length in (3, 1, 9, 4, 3)]
    together = [prediction.result for prediction in model.predict_batch(items)]
    assert together == [model.predict(item).result for item in items]
    assert model.predict_batch([]) == []


def test_a_model_that_takes_batches_is_called_once_for_many(make: ModelMaker) -> None:
    for batch, expected in ((-1, [MAX_BATCH, 3]), (1, [1] * (MAX_BATCH + 3))):
        model = series_model(make, batch=batch)
        counting = model._bound.session = CountingSession(model.session)  # type: ignore[assignment]
        model.predict_batch([[[0.0, 0.1]]] * (MAX_BATCH + 3))
        assert counting.sizes == expected


def test_each_item_of_a_batch_may_have_landmarks(make: ModelMaker) -> None:
    model = series_model(make)
    with pytest.raises(InputError, match="2 inputs came with landmarks for 1"):
        model.predict_batch([[[0.0, 0.1]]] * 2, landmarks=[()])


# Tensors


def test_tensors_go_in_and_out_by_the_names_and_axes_of_the_manifest(make: ModelMaker) -> None:
    """The artifact is channels-last and has names of its own; nobody outside notices."""
    model = make(
        Input("x", "FP32", (1, 2, 3, 4)),
        outputs={"y": [1, 3, 4, 2]},
        artifact=fake({"serving_x:0": [1, 3, 4, 2]}, {"call:0": [1, 3, 4, 2]}),
        task={"kind": "embedding"},
        variant=Variant(
            "v", "fake", "model.json", tensors={"x": "serving_x:0", "y": "call:0"}, axes={"x": (0, 2, 3, 1)}
        ),
    )
    values = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    assert np.array_equal(model.infer({"x": values})["y"], values.transpose(0, 2, 3, 1))
    assert list(model.infer({"x": values}, ["y"])) == ["y"]
    with pytest.raises(TensorError, match="No output"):
        model.infer({"x": values}, ["call:0"])


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"x": np.zeros((1, 4, 2), np.float32)},
        {"x": np.zeros((1, 3, 2), np.float64)},
        {"x": np.full((1, 3, 2), np.nan, np.float32)},
        {"x": np.zeros((1, 3, 2), np.float32), "z": np.zeros(1)},
    ],
)
def test_wrong_tensors_are_refused(make: ModelMaker, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(TensorError):
        series_model(make).infer(inputs)


@pytest.mark.parametrize(
    ("artifact", "message"),
    [
        (fake({"x": [-1, 3, 2]}, {"z": [-1, 3, 2]}), "has no output named 'y'"),
        (fake({"x": [-1, 3, 9]}, {"y": [-1, 3, 9]}), "but the artifact has FP32"),
        (fake({"x": [-1, 3, 2], "state": [1]}, {"y": [-1, 3, 2], "n": [1]}), "also takes 'state'"),
    ],
)
def test_an_artifact_that_is_not_what_the_manifest_says_is_refused(
    make: ModelMaker, artifact: bytes, message: str
) -> None:
    spec = Input("x", "FP32", (-1, 3, 2), "series", (Window(3),))
    with pytest.raises(PackageError, match=message):
        make(spec, outputs={"y": [-1, 3, 2]}, artifact=artifact)


def test_a_model_that_fails_or_gives_nan_says_so(make: ModelMaker) -> None:
    spec = Input("x", "FP32", (-1, 3, 2), "series", (Window(3),))
    shapes = {"x": [-1, 3, 2]}, {"y": [-1, 3, 2]}
    failing = make(spec, outputs=shapes[1], artifact=fake(*shapes, behaviour="fail"))
    with pytest.raises(EngineError):
        failing.predict([[1.0, 2.0]])
    nan = make(spec, outputs=shapes[1], artifact=fake(*shapes, behaviour="constant", value=3e38))
    assert nan.predict([[1.0, 2.0]]).result is not None
    nan._bound.infer = lambda *_: {"y": np.full((1, 3, 2), np.nan, np.float32)}  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="NaN"):
        nan.predict([[1.0, 2.0]])


def test_an_output_that_is_not_of_the_stated_shape_is_an_error_of_the_engine(make: ModelMaker) -> None:
    """The artifact leaves open what the manifest states, so only a call can tell."""
    artifact = fake({"x": [-1, 4]}, {"y": [-1, -1]}, behaviour="constant")
    model = make(Input("x", "FP32", (-1, 4)), outputs={"y": [-1, 3]}, artifact=artifact)
    with pytest.raises(EngineError) as caught:
        model.infer({"x": np.zeros((2, 4), np.float32)})
    assert caught.value.facts == {"tensor": "y", "expected": [-1, 3], "actual": [2, 4]}


# Variants, life and looks


def test_the_first_variant_that_can_run_here_is_taken() -> None:
    variants = tuple(
        Variant(name, runtime, "a") for name, runtime in (("x", "unheard-of"), ("y", "fake"), ("z", "fake"))
    )
    manifest = Manifest("m", "1", "MIT", {}, (Input("x", "FP32", (1,)),), (Output("y", "FP32", (1,)),), variants)
    assert choose_variant(manifest).name == "y"
    assert choose_variant(manifest, "z").name == "z"
    with pytest.raises(NotFoundError):
        choose_variant(manifest, "w")
    with pytest.raises(MissingExtraError, match="unheard-of"):
        choose_variant(msgspec.structs.replace(manifest, variants=variants[:1]))


def test_many_threads_share_a_model(make: ModelMaker) -> None:
    model = picture_model(make)
    pictures = [colour(*(200 if channel == number % 3 else 9 for channel in range(3))) for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda picture: best(model.predict(picture, top=1).result), pictures))
    assert found == ["red", "green", "blue"] * 20


def test_a_zip_is_opened_from_a_temporary_folder_that_goes_away(make: ModelMaker, tmp_path: Path) -> None:
    archive = package.pack(picture_model(make).folder, tmp_path / "made.zip")
    with Model.open(archive) as model:
        folder = model.folder
        assert folder.exists()
        assert best(model.predict(colour(1, 2, 3)).result) == "blue"
    assert not folder.exists()
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises((PackageError, CorruptError)):
        Model.open(archive)


def test_a_closed_model_says_so(make: ModelMaker) -> None:
    model = picture_model(make)
    model.close()
    model.close()
    with pytest.raises(ClosedError):
        model.predict(colour(1, 2, 3))


def test_a_prediction_can_be_read_and_seen(make: ModelMaker) -> None:
    model = picture_model(make)
    prediction = model.predict(colour(10, 200, 50))
    lines = repr(prediction).splitlines()
    assert lines[0].startswith("made 3 (echo, ")
    assert lines[1] == "   78.4%  green"
    png = prediction._repr_png_()
    assert png is not None
    assert images.decode(png).shape == (9, 7, 3)
    assert prediction.draw_png() == png
    assert json.loads(json.dumps(prediction.to_dict()))["result"]["task"] == "classification"
    assert prediction.lines(top=1)[1:] == ["and 2 more"]
    assert "made 3: classification, takes x FP32" in repr(model)


def test_a_model_that_runs_on_other_hardware_than_asked_for_says_so(make: ModelMaker) -> None:
    folder = series_model(make).folder
    with Model.open(folder, options=SessionOptions(provider="cuda")) as model:
        assert "(cpu; cuda: no such provider in this engine)" in repr(model)
    with Model.open(folder) as model:
        assert repr(model).endswith("(cpu)")


def test_a_series_has_no_picture(make: ModelMaker) -> None:
    prediction = series_model(make).predict([[0.0, 0.1]])
    assert prediction._repr_png_() is None
    with pytest.raises(InputError, match="cannot be drawn"):
        prediction.draw_png()


def test_a_benchmark_measures_the_engine(make: ModelMaker) -> None:
    shapes = {"x": [-1, 3, 2]}, {"y": [-1, 3, 2]}
    spec = Input("x", "FP32", (-1, 3, 2), "series", (Window(3),))
    model = make(spec, outputs=shapes[1], artifact=fake(*shapes, behaviour="sleep", seconds=0.002))
    measured = model.benchmark(seconds=0.05)
    assert measured.p50_ms >= 2
    assert measured.calls == pytest.approx(measured.per_second * measured.seconds)
    assert "echo on cpu" in repr(measured)
