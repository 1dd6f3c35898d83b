"""Boxes and points of a tensor map back to the original picture exactly, whatever was done to the picture."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.models import manifest
from edgewise.models.geometry import Geometry, invert
from edgewise.models.manifest import CenterCrop, Input, Letterbox, Resize
from edgewise.models.preprocess import ARCFACE_TEMPLATE, Preprocessor, similarity

SIDES = st.integers(1, 120)
INTERPOLATIONS = st.sampled_from(["nearest", "linear", "cubic", "area", "lanczos"])
PICTURES = st.tuples(SIDES, SIDES)

resizes = st.builds(Resize, SIDES, SIDES, INTERPOLATIONS)
letterboxes = st.builds(Letterbox, SIDES, SIDES, INTERPOLATIONS, st.sampled_from(["center", "top_left"]))


@st.composite
def crops(draw: st.DrawFn) -> tuple[manifest.Operation, ...]:
    """Resize the shorter side, then cut the middle out: the classifiers' way."""
    height, width = draw(SIDES), draw(SIDES)
    shorter = max(height, width) + draw(st.integers(0, 16))  # a picture of 1 x 120 stays below the largest side
    return Resize(shorter, shorter, draw(INTERPOLATIONS), "shorter"), CenterCrop(height, width)


chains = st.one_of(
    st.tuples(resizes),
    st.tuples(letterboxes),
    crops(),
    st.tuples(letterboxes, resizes),
    st.tuples(resizes, letterboxes),
)


def prepare(picture: np.ndarray, operations: tuple[manifest.Operation, ...]) -> tuple[np.ndarray, Geometry]:
    spec = Input("x", "UINT8", (-1, -1, -1, 3), "image", operations)
    prepared = Preprocessor(spec)(picture)
    assert prepared.geometry is not None
    return prepared.tensor[0], prepared.geometry


@given(PICTURES, chains)
@settings(deadline=None)
def test_there_and_back_is_the_identity(size: tuple[int, int], operations: tuple[manifest.Operation, ...]) -> None:
    _, geometry = prepare(np.zeros((*size, 3), np.uint8), operations)
    height, width = size
    points = np.array([[0, 0], [width, 0], [0, height], [width, height], [width / 3, height / 7]])
    assert np.allclose(geometry.points(geometry.inverse(points)), points, rtol=0, atol=1e-9 * max(size))


@given(PICTURES, chains, st.tuples(*[st.floats(0, 1)] * 4))
@settings(deadline=None)
def test_a_box_of_the_picture_comes_back_as_itself(
    size: tuple[int, int], operations: tuple[manifest.Operation, ...], shares: tuple[float, float, float, float]
) -> None:
    _, geometry = prepare(np.zeros((*size, 3), np.uint8), operations)
    height, width = size
    x1, x2 = sorted(share * width for share in shares[:2])
    y1, y2 = sorted(share * height for share in shares[2:])
    corners = geometry.inverse(np.array([[x1, y1], [x2, y2]])).reshape(1, 4)
    assert np.allclose(geometry.boxes(corners)[0], (x1, y1, x2, y2), rtol=0, atol=1e-9 * max(size))


@given(st.tuples(st.integers(20, 120), st.integers(20, 120)), st.one_of(st.tuples(resizes), st.tuples(letterboxes)))
@settings(deadline=None)
def test_the_whole_picture_is_where_its_pixels_are(
    size: tuple[int, int], operations: tuple[manifest.Operation, ...]
) -> None:
    """White on a black letterbox: the white pixels of the tensor are the picture, to the pixel."""
    operations = tuple(
        Letterbox(each.height, each.width, each.interpolation, each.anchor, 0) if isinstance(each, Letterbox) else each
        for each in operations
    )
    tensor, geometry = prepare(np.full((*size, 3), 255, np.uint8), operations)
    rows, columns = np.nonzero(tensor[..., 0])
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
    assert np.allclose(geometry.boxes(box)[0], (0, 0, size[1], size[0]), atol=1e-9 * max(size))


def test_a_mark_is_found_where_it_was() -> None:
    """Not only the formula: real pixels move as the geometry says, to within half a pixel of the tensor."""
    picture = np.zeros((300, 500, 3), np.uint8)
    cv2.rectangle(picture, (200, 100), (259, 179), (255, 255, 255), cv2.FILLED)
    for operations in (
        (Letterbox(256, 256),),
        (Resize(128, 320, "area"),),
        (Resize(150, 150, "linear", "shorter"), CenterCrop(140, 140)),
        (Letterbox(640, 640, "cubic", "top_left"),),
    ):
        tensor, geometry = prepare(picture, operations)
        inside = geometry.boxes(np.array([[0, 0, *tensor.shape[1::-1]]]))[0]
        rows, columns = np.nonzero(tensor[..., 0] > 127)
        if operations[0] == Letterbox(256, 256):
            rows, columns = np.nonzero(tensor[..., 0] > 184)
        found = geometry.boxes(np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]))[0]
        expected = np.array((200, 100, 260, 180))
        pixel = max(abs(geometry.matrix[0]), abs(geometry.matrix[4]))
        assert np.abs(found - expected).max() <= pixel
        assert (found >= inside - 1e-9)[:2].all()


def test_boxes_are_cut_at_the_edges_of_the_picture() -> None:
    boxes = np.array([[-5.0, -5.0, 50.0, 1000.0]])
    assert Geometry(40, 30).boxes(boxes).tolist() == [[0, 0, 40, 30]]


@given(st.floats(-3.1, 3.1), st.floats(0.2, 5), st.floats(-200, 200), st.floats(-200, 200))
def test_a_face_in_any_pose_maps_onto_the_template_and_back(angle: float, scale: float, x: float, y: float) -> None:
    template = np.array(ARCFACE_TEMPLATE)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (template @ turn.T) * scale + (x, y)
    forward = similarity(landmarks, template)
    geometry = Geometry(1000, 1000).after(invert(forward))
    assert np.allclose(geometry.points(template), landmarks, atol=1e-6)
    assert np.allclose(geometry.inverse(landmarks), template, atol=1e-6)


def test_a_turned_box_is_the_upright_rectangle_around_it() -> None:
    quarter = Geometry(100, 100).after((0.0, -1.0, 100.0, 1.0, 0.0, 0.0))
    assert quarter.boxes(np.array([[10.0, 20.0, 30.0, 60.0]])).tolist() == [[40, 10, 80, 30]]


def test_similarity_agrees_with_umeyamas_svd() -> None:
    """The reference is the published algorithm: singular values of the covariance, no reflection."""
    random = np.random.default_rng(3)
    for _ in range(50):
        source, target = random.normal(size=(5, 2)) * 40, np.array(ARCFACE_TEMPLATE)
        s, t = source - source.mean(0), target - target.mean(0)
        u, values, vt = np.linalg.svd(t.T @ s / 5)
        flip = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
        scale = (values * np.diag(flip)).sum() / (s**2).sum() * 5
        rotation = scale * u @ flip @ vt
        shift = target.mean(0) - rotation @ source.mean(0)
        expected = (*rotation[0], shift[0], *rotation[1], shift[1])
        assert np.allclose(similarity(source, target), expected, atol=1e-9)
