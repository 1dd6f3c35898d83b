"""The operations of the manifest: one implementation, the same numbers for every caller."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgewise.errors import InputError, PackageError, TensorError, TooLargeError
from edgewise.models.manifest import (
    AlignFace,
    CenterCrop,
    Colour,
    Input,
    Layout,
    Letterbox,
    Normalise,
    Operation,
    Quantise,
    Resize,
    Window,
)
from edgewise.models.preprocess import ARCFACE_TEMPLATE, Preprocessor
from edgewise.types import Datatype


def picture_input(*operations: Operation, shape: tuple[int, ...], datatype: Any = "FP32") -> Preprocessor:
    return Preprocessor(Input("x", datatype, shape, "image", operations))


def series_input(*operations: Operation, shape: tuple[int, ...] = (-1, -1, 2), datatype: Any = "FP32") -> Preprocessor:
    return Preprocessor(Input("x", datatype, shape, "series", operations, channels=("left", "right")))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


pictures = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)))
numbers = st.floats(-300, 300, width=32)
positive = st.floats(0.25, 300, width=32)
channels = st.integers(1, 3).map(lambda n: 3 if n == 2 else n)


@given(pictures, st.sampled_from(["rgb", "bgr", "grey"]), st.data())
@settings(deadline=None)
def test_channels_first_is_channels_last_transposed(picture: np.ndarray, colour: Any, data: st.DataObject) -> None:
    count = 1 if colour == "grey" else data.draw(st.sampled_from([1, 3]))
    mean = tuple(data.draw(st.lists(numbers, min_size=count, max_size=count)))
    std = tuple(data.draw(st.lists(positive, min_size=count, max_size=count)))
    made = 1 if colour == "grey" else 3
    steps = (Resize(12, 17), Colour(colour), Normalise(mean, std))
    last = picture_input(*steps, shape=(-1, 12, 17, made))(picture).tensor
    first = picture_input(*steps, Layout("NCHW"), shape=(-1, made, 12, 17))(picture).tensor
    assert first.flags.c_contiguous
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))


@given(pictures, st.lists(numbers, min_size=3, max_size=3), st.lists(positive, min_size=3, max_size=3))
@settings(deadline=None)
def test_normalising_is_what_it_says_to_the_last_bit(picture: np.ndarray, mean: list[float], std: list[float]) -> None:
    height, width = picture.shape[:2]
    tensor = picture_input(Normalise(tuple(mean), tuple(std)), shape=(1, height, width, 3))(picture).tensor
    expected = (picture.astype(np.float32) - np.float32(mean)) / np.float32(std)
    assert np.array_equal(tensor[0], expected)


def test_operations_run_in_the_order_they_stand() -> None:
    picture = noise(30, 40)
    steps = (Letterbox(20, 20, fill=7), Colour("bgr"), Normalise((1, 2, 3), (4, 5, 6)), Layout("NCHW"))
    tensor = picture_input(*steps, shape=(1, 3, 20, 20))(picture).tensor
    canvas = np.full((20, 20, 3), 7, np.uint8)
    canvas[2:17] = cv2.resize(picture, (20, 15))
    expected = (canvas[..., ::-1].astype(np.float32) - (1, 2, 3)) / (4, 5, 6)
    assert np.allclose(tensor[0], expected.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("linear", cv2.INTER_LINEAR),
        ("cubic", cv2.INTER_CUBIC),
        ("area", cv2.INTER_AREA),
        ("lanczos", cv2.INTER_LANCZOS4),
        ("nearest", cv2.INTER_NEAREST_EXACT),
    ],
)
def test_interpolation_is_the_one_that_is_named(name: Any, flag: int) -> None:
    picture = noise(40, 50)
    tensor = picture_input(Resize(16, 16, name), shape=(1, 16, 16, 3), datatype="UINT8")(picture).tensor
    assert np.array_equal(tensor[0], cv2.resize(picture, (16, 16), interpolation=flag))


def test_the_shorter_side_is_scaled_and_the_middle_cut_out() -> None:
    """As torchvision's Resize(8) and CenterCrop(6) do: 20 x 33 becomes 8 x 13, then 6 x 6 from row 1, column 4."""
    picture = noise(20, 33)
    steps = (Resize(8, 8, "area", "shorter"), CenterCrop(6, 6))
    tensor = picture_input(*steps, shape=(1, 6, 6, 3), datatype="UINT8")(picture).tensor
    resized = cv2.resize(picture, (13, 8), interpolation=cv2.INTER_AREA)
    assert np.array_equal(tensor[0], resized[1:7, 4:10])


def test_quantising_rounds_and_clips() -> None:
    picture = np.array([[[0, 128, 255]]], np.uint8)
    steps = (Normalise((128,), (128,)), Quantise(1 / 100, 5))
    tensor = picture_input(*steps, shape=(1, 1, 1, 3), datatype="INT8")(picture).tensor
    assert tensor.dtype == np.int8
    assert tensor.ravel().tolist() == [-95, 5, 104]


def test_the_batch_axis_is_left_out_where_the_model_has_none() -> None:
    assert picture_input(Resize(4, 4), shape=(4, 4, 3))(noise(9, 9)).tensor.shape == (4, 4, 3)
    assert series_input(shape=(-1, 2))([[1, 2], [3, 4]]).tensor.shape == (2, 2)


# Faces


def test_a_face_is_turned_onto_the_template() -> None:
    """A picture whose five landmarks carry marks, turned by 40 degrees: the marks end up on the template."""
    template = np.array(ARCFACE_TEMPLATE)
    angle, scale = np.deg2rad(40), 2.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (template - 56) @ turn.T * scale + (210, 180)
    picture = np.zeros((400, 400, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(picture, (round(x), round(y)), 6, (255, 255, 255), cv2.FILLED)
    align = picture_input(AlignFace(112), shape=(1, 112, 112, 3), datatype="UINT8")
    face = align(picture, landmarks=[(x, y) for x, y in landmarks]).tensor[0, ..., 0]
    count, _, _, centres = cv2.connectedComponentsWithStats((face > 127).astype(np.uint8))
    assert count == 6
    for x, y in template:
        assert np.hypot(*(centres[1:] - (x, y)).T).min() < 1


def test_a_face_that_is_cut_out_already_is_taken_as_it_is() -> None:
    picture = noise(112, 112)
    align = picture_input(AlignFace(112), shape=(1, 112, 112, 3), datatype="UINT8")
    assert np.array_equal(align(picture).tensor[0], picture)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        ([], "five landmarks"),
        ([(5, 5)] * 5, "one point"),
        ([(1, 2), (3, 4)], "5 landmarks, not 2"),
        ([(1, float("nan"))] * 5, "NaN"),
    ],
)
def test_landmarks_that_are_no_face_are_refused(landmarks: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        picture_input(AlignFace(112), shape=(1, 112, 112, 3))(noise(200, 200), landmarks=landmarks)


# Series


def test_a_long_series_loses_both_ends_and_a_short_one_is_filled_up() -> None:
    window = series_input(Window(4, fill=-1.0), shape=(1, 4, 2))
    assert window(np.arange(14).reshape(7, 2)).tensor[0, :, 0].tolist() == [2, 4, 6, 8]
    assert window(np.arange(4).reshape(2, 2)).tensor[0].tolist() == [[0, 1], [2, 3], [-1, -1], [-1, -1]]


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(2)), elements=numbers))
def test_a_series_with_channels_first_is_the_same_transposed(series: np.ndarray) -> None:
    steps = (Window(8), Normalise((1, 2), (3, 4)))
    last = series_input(*steps, shape=(-1, 8, 2))(series).tensor
    first = series_input(*steps, Layout("NCT"), shape=(-1, 2, 8))(series).tensor
    assert np.array_equal(first, last.transpose(0, 2, 1))


@pytest.mark.parametrize(
    "series",
    [
        [[1, 2], [3]],
        [[1, "a"]],
        [1, 2],
        [[1, 2, 3]],
        [],
        [[1, None]],
        [[1, float("nan")]],
        [[1, float("inf")]],
        [[1, 1e300]],
        {"left": 1},
        np.zeros((3, 2), complex),
        np.zeros((0, 2)),
    ],
    ids=str,
)
def test_what_is_no_series_of_the_channels_is_refused(series: object) -> None:
    with pytest.raises(TensorError) as caught:
        series_input()(series)
    assert caught.value.facts["tensor"] == "x"


def test_large_but_finite_numbers_pass_though_their_sum_overflows() -> None:
    assert series_input()([[3e38, 3e38], [3e38, 3e38]]).tensor.max() == np.float32(3e38)


# What is refused


@pytest.mark.parametrize(
    "raw",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        "text",
        None,
    ],
    ids=["grey", "rgba", "float", "empty", "text", "none"],
)
def test_what_is_no_rgb_picture_is_refused(raw: object) -> None:
    with pytest.raises(TensorError, match="RGB picture"):
        picture_input(Resize(4, 4), shape=(1, 4, 4, 3))(raw)


def test_a_picture_that_would_grow_without_bound_is_refused() -> None:
    steps = (Resize(256, 256, "linear", "shorter"), CenterCrop(224, 224))
    with pytest.raises(TooLargeError):
        picture_input(*steps, shape=(1, 224, 224, 3))(np.zeros((1, 10_000, 3), np.uint8))


def test_a_crop_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        picture_input(CenterCrop(10, 10), shape=(1, 10, 10, 3))(noise(9, 20))


@pytest.mark.parametrize(
    ("operations", "shape", "field", "message"),
    [
        ((Resize(4, 4), Layout("NCHW")), (1, 4, 4, 3), "inputs[0].shape", "preprocessing makes [-1, 3, 4, 4]"),
        ((Resize(4, 5),), (1, 4, 4, 3), "inputs[0].shape", "preprocessing makes [-1, 4, 5, 3]"),
        ((Colour("grey"),), (1, 4, 4, 3), "inputs[0].shape", "makes [-1, -1, -1, 1]"),
        ((Normalise((1, 2), (1, 2)),), (1, -1, -1, 3), "inputs[0].preprocess[0]", "each of 3 channels"),
        ((Normalise((), (1,)),), (1, -1, -1, 3), "inputs[0].preprocess[0]", "each of 3 channels"),
        ((Layout("NCHW"), Resize(4, 4)), (1, 3, 4, 4), "inputs[0].preprocess[0]", "must be the last"),
        ((Normalise((0,), (1,)), Resize(4, 4)), (1, 4, 4, 3), "inputs[0].preprocess[1]", "must come before"),
        ((Window(4),), (1, 4, 4, 3), "inputs[0].preprocess[0]", "does not apply"),
        ((Layout("NCT"),), (1, 4, 4, 3), "inputs[0].preprocess[0]", "does not apply"),
        ((Quantise(0.1),), (1, 4, 4, 3), "inputs[0].preprocess[0]", "makes integers"),
    ],
)
def test_operations_that_cannot_work_are_refused_when_the_package_is_read(
    operations: tuple[Operation, ...], shape: tuple[int, ...], field: str, message: str
) -> None:
    with pytest.raises(PackageError) as caught:
        picture_input(*operations, shape=shape)
    assert caught.value.facts["field"] == field
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("datatype", "numbers"), [("INT8", [[1.5, 2]]), ("INT8", [["1", 2]]), ("BOOL", [[2, 0]]), ("UINT8", [[300, 1]])]
)
def test_numbers_in_lists_are_not_changed_to_fit_a_tensor(datatype: Datatype, numbers: list[list[object]]) -> None:
    spec = Input("x", datatype, (-1, 2))
    with pytest.raises(TensorError):
        Preprocessor(spec)(numbers)
    assert Preprocessor(spec)([[1.0, 0]]).tensor.tolist() == [[1, 0]]
