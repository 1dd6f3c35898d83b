"""Decoders, each fed with tensors that encode known objects: what went in comes out."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.errors import EngineError, PackageError
from edgewise.models.geometry import Geometry
from edgewise.models.manifest import Input, Layout, Manifest, Output, Variant
from edgewise.models.tasks import decoder_class, detection
from edgewise.models.tasks.base import Context, Decoder, Head
from edgewise.models.tasks.classification import best
from edgewise.models.tasks.detection import Candidates, DetectionOptions, overlaps, suppress
from edgewise.types import Classification, Detections, Embedding, Regression

SIDE = 64
STRIDES = (8, 16, 32)
# Seen through a letterbox: the tensor's 64 pixels are 128 of the picture, 10 further down.
GEOMETRY = Geometry(128, 100).scaled(x=2.0, y=2.0, top=10.0)


def decoder(
    task: dict[str, Any], outputs: dict[str, tuple[int, ...]], files: dict[str, bytes] | None = None
) -> Decoder:
    """A decoder for a model with these outputs and a planar picture of 64 x 64 as input."""
    manifest = Manifest(
        name="m",
        version="1",
        licence="MIT",
        task=task,
        inputs=(Input("x", "FP32", (-1, 3, SIDE, SIDE), "image", (Layout("NCHW"),)),),
        outputs=tuple(Output(name, "FP32", shape) for name, shape in outputs.items()),
        variants=(Variant("v", "fake", "m.json"),),
    )
    kind = decoder_class(task["kind"])
    return kind(msgspec.convert(task, kind.Options), Head(manifest, (files or {}).__getitem__))


def detect(made: Decoder, outputs: dict[str, np.ndarray], geometry: Geometry = GEOMETRY) -> Detections:
    (result,) = made.decode(outputs, Context((geometry,)))
    assert isinstance(result, Detections)
    return result


def corners(found: Detections) -> list[list[float]]:
    return [[thing.box.x1, thing.box.y1, thing.box.x2, thing.box.y2] for thing in found.objects]


# Classification


def test_labels_come_best_first_with_probabilities_that_sum_to_one() -> None:
    files = {"labels.txt": "cat\ndog\n鸟\n".encode()}
    made = decoder({"kind": "classification", "labels": "labels.txt"}, {"y": (-1, 3)}, files)
    (result,) = made.decode({"y": np.array([[1.0, 3.0, 2.0]], np.float32)}, Context((None,)))
    assert isinstance(result, Classification)
    assert [label.name for label in result.labels] == ["dog", "鸟", "cat"]
    assert [label.index for label in result.labels] == [1, 2, 0]
    assert sum(label.score for label in result.labels) == pytest.approx(1)
    assert result.labels[0].score == pytest.approx(np.e**2 / (1 + np.e + np.e**2))


def test_top_and_threshold_leave_labels_out() -> None:
    values = {"y": np.array([[0.7, 0.05, 0.25]], np.float32)}
    for options, expected in (({"top": 2}, ["0", "2"]), ({"threshold": 0.5}, ["0"]), ({"threshold": 1.0}, [])):
        made = decoder({"kind": "classification", "activation": "none", **options}, {"y": (-1, 3)})
        (result,) = made.decode(values, Context((None,)))
        assert isinstance(result, Classification)
        assert [label.name for label in result.labels] == expected


def test_extreme_logits_do_not_overflow() -> None:
    values = {"y": np.array([[3e38, -3e38, 0.0]], np.float32)}
    for activation in ("softmax", "sigmoid"):
        made = decoder({"kind": "classification", "activation": activation}, {"y": (-1, 3)})
        (result,) = made.decode(values, Context((None,)))
        assert isinstance(result, Classification)
        assert result.labels[0].score == 1.0
        assert result.labels[-1].score == 0.0


def test_the_number_of_labels_must_be_that_of_the_classes() -> None:
    with pytest.raises(PackageError, match="2 labels, expected 3") as caught:
        decoder({"kind": "classification", "labels": "l"}, {"y": (-1, 3)}, {"l": b"cat\ndog\n"})
    assert caught.value.facts["field"] == "task.labels"


def test_a_class_past_the_labels_is_an_error_of_the_engine() -> None:
    """The manifest may leave the number of classes open, so that only the output shows it."""
    files = {"l": b"cat\ndog\n"}
    made = decoder({"kind": "classification", "labels": "l"}, {"y": (-1, -1)}, files)
    with pytest.raises(EngineError, match="class 2, but has 2 labels"):
        made.decode({"y": np.eye(3, dtype=np.float32)[2:]}, Context((None,)))
    made = decoder({"kind": "yolo", "labels": "l"}, {"y": (-1, -1, -1)}, files)
    with pytest.raises(EngineError, match="class 2, but has 2 labels"):
        detect(made, {"y": np.array([[[32, 32, 8, 8, 1, 0, 0, 1]]], np.float32)})


def test_values_that_cannot_be_shared_out_among_the_items_are_an_error_of_the_engine() -> None:
    made = decoder({"kind": "classification"}, {"y": (-1, 3)})
    with pytest.raises(EngineError, match="2 items"):
        made.decode({"y": np.zeros((1, 3), np.float32)}, Context((None, None)))


def test_a_model_with_several_outputs_must_say_which() -> None:
    with pytest.raises(PackageError, match="must name one of the outputs"):
        decoder({"kind": "classification"}, {"y": (-1, 3), "z": (-1, 3)})
    with pytest.raises(PackageError) as caught:
        decoder({"kind": "classification", "output": "logit"}, {"logits": (-1, 3), "z": (-1, 3)})
    assert "logits" in caught.value.hint


# Detection: each head with tensors that encode known boxes

CentredBox = tuple[float, float, float, float]


def apart(found: list[CentredBox]) -> bool:
    """No two boxes overlap, so that suppression takes none away."""
    return all(
        abs(one[0] - other[0]) >= (one[2] + other[2]) / 2 or abs(one[1] - other[1]) >= (one[3] + other[3]) / 2
        for one, other in itertools.combinations(found, 2)
    )


boxes = st.lists(
    st.tuples(st.integers(4, 50), st.integers(4, 50), st.floats(4, 12), st.floats(4, 12)),
    min_size=1,
    max_size=3,
    unique_by=(lambda box: box[0] // 8, lambda box: box[1] // 8),
).filter(apart)


def yunet_outputs(faces: list[CentredBox]) -> dict[str, np.ndarray]:
    """Faces as centre and size in the tensor, in the cells of stride 8, the best first."""
    outputs = {}
    for stride in STRIDES:
        cells = (SIDE // stride) ** 2
        for name, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{name}_{stride}"] = np.zeros((1, cells, columns), np.float32)
    for rank, (x, y, width, height) in enumerate(faces):
        column, row = int(x // 8), int(y // 8)
        cell = row * (SIDE // 8) + column
        outputs["cls_8"][0, cell] = outputs["obj_8"][0, cell] = 0.99 - rank / 100
        outputs["bbox_8"][0, cell] = (x / 8 - column, y / 8 - row, np.log(width / 8), np.log(height / 8))
        points = np.array([[x, y], [x + 1, y], [x, y + 1], [x - 1, y], [x, y - 1]])
        outputs["kps_8"][0, cell] = (points / 8 - (column, row)).ravel()
    return outputs


def yunet() -> Decoder:
    return decoder({"kind": "yunet"}, {name: (1, *array.shape[1:]) for name, array in yunet_outputs([]).items()})


@given(boxes)
@settings(deadline=None)
def test_yunet_gives_back_faces_and_landmarks(faces: list[CentredBox]) -> None:
    found = detect(yunet(), yunet_outputs(faces), Geometry(SIDE, SIDE))
    assert len(found.objects) == len(faces)
    for thing, (x, y, width, height) in zip(found.objects, faces, strict=True):
        box = np.clip((x - width / 2, y - height / 2, x + width / 2, y + height / 2), 0, SIDE)
        assert (thing.box.x1, thing.box.y1, thing.box.x2, thing.box.y2) == pytest.approx(box, abs=1e-4)
        expected = [(x, y), (x + 1, y), (x, y + 1), (x - 1, y), (x, y - 1)]
        assert np.allclose(thing.landmarks, expected, atol=1e-4)
        assert thing.label == "face"


def test_yunet_maps_faces_back_through_the_letterbox() -> None:
    found = detect(yunet(), yunet_outputs([(32, 30, 8, 12)]))
    assert corners(found)[0] == pytest.approx([56, 28, 72, 52], abs=1e-4)
    assert found.objects[0].landmarks[0] == pytest.approx((64, 40), abs=1e-4)
    assert (found.width, found.height) == (128, 100)


def test_yunet_scores_are_the_geometric_mean_of_class_and_object() -> None:
    outputs = yunet_outputs([(32, 32, 10, 10)])
    outputs["cls_8"][0] *= 1.5
    cell = int(outputs["obj_8"][0].argmax())
    outputs["obj_8"][0, cell] = 0.81
    assert detect(yunet(), outputs).objects[0].score == pytest.approx(0.9)


def test_a_yunet_without_one_of_its_outputs_is_refused() -> None:
    shapes = {name: (1, *array.shape[1:]) for name, array in yunet_outputs([]).items()}
    with pytest.raises(PackageError, match="kps_16"):
        decoder({"kind": "yunet"}, {name: shape for name, shape in shapes.items() if name != "kps_16"})
    with pytest.raises(PackageError, match="bbox_32"):
        decoder({"kind": "yunet"}, shapes | {"bbox_32": (1, 9, 4)})


def nanodet_outputs(things: list[CentredBox]) -> dict[str, np.ndarray]:
    """Each thing in the stride-16 cell nearest its centre, its edges as sharp or two-sided distributions."""
    outputs = {}
    for stride in STRIDES:
        cells = (SIDE // stride) ** 2
        outputs[f"cls_{stride}"] = np.full((1, cells, 3), 0.01, np.float32)
        outputs[f"dis_{stride}"] = np.full((1, cells, 44), -30.0, np.float32)
    for rank, (x, y, width, height) in enumerate(things):
        column, row = int(x // 16), int(y // 16)
        cell = row * 4 + column
        outputs["cls_16"][0, cell, rank] = 0.9 - rank / 10
        centre = np.array((column, row)) * 16 + 8
        edges = (centre - (x - width / 2, y - height / 2), (x + width / 2, y + height / 2) - centre)
        for index, distance in enumerate(np.concatenate(edges) / 16):
            low = int(np.clip(distance, 0, 9))
            share = np.clip(distance - low, 1e-9, 1 - 1e-9)
            outputs["dis_16"][0, cell, index * 11 + low] = np.log(1 - share)
            outputs["dis_16"][0, cell, index * 11 + low + 1] = np.log(share)
    return outputs


@given(
    st.lists(
        st.tuples(st.integers(10, 54), st.integers(10, 54), st.floats(17, 30), st.floats(17, 30)),
        min_size=1,
        max_size=3,
        unique_by=(lambda box: box[0] // 16, lambda box: box[1] // 16),
    )
)
@settings(deadline=None)
def test_nanodet_gives_back_boxes_and_classes(things: list[CentredBox]) -> None:
    shapes = {name: (-1, *array.shape[1:]) for name, array in nanodet_outputs([]).items()}
    task = {
        "kind": "nanodet",
        "labels": "l",
        "scores": ["cls_8", "cls_16", "cls_32"],
        "distances": ["dis_8", "dis_16", "dis_32"],
    }
    made = decoder(task, shapes, {"l": b"person\ncar\ndog"})
    found = detect(made, nanodet_outputs(things), Geometry(SIDE, SIDE))
    assert [thing.label for thing in found.objects] == ["person", "car", "dog"][: len(things)]
    for box, (x, y, width, height) in zip(corners(found), things, strict=True):
        expected = np.clip((x - width / 2, y - height / 2, x + width / 2, y + height / 2), 0, SIDE)
        assert box == pytest.approx(expected, abs=0.01)


THINGS = [(20.0, 24.0, 16.0, 10.0, 1, 0.9), (44.0, 40.0, 12.0, 30.0, 0, 0.8)]
EXPECTED = [[24, 18, 56, 38], [76, 30, 100, 90]]


def yolo_rows(*, objectness: bool, things: Any = tuple(THINGS)) -> np.ndarray:
    rows = np.zeros((10, 7 if objectness else 6), np.float32)
    for index, (x, y, width, height, kind, score) in enumerate(things):
        rows[index, :4] = (x, y, width, height)
        if objectness:
            rows[index, 4] = 0.95
            rows[index, 5 + kind] = score / 0.95
        else:
            rows[index, 4 + kind] = score
    return rows


@pytest.mark.parametrize("order", ["rows", "columns"])
@pytest.mark.parametrize("objectness", [True, False])
def test_yolo_gives_back_boxes(order: str, objectness: bool) -> None:
    table = yolo_rows(objectness=objectness)
    table = table if order == "rows" else np.ascontiguousarray(table.T)
    made = decoder({"kind": "yolo", "order": order, "objectness": objectness}, {"y": (-1, *table.shape)})
    found = detect(made, {"y": table[None]})
    assert np.allclose(corners(found), EXPECTED, atol=1e-4)
    assert [(thing.label, round(thing.score, 4)) for thing in found.objects] == [("1", 0.9), ("0", 0.8)]


def test_yolo_takes_corners_in_shares_too() -> None:
    table = yolo_rows(objectness=False)
    half = table[:, 2:4] / 2
    table[:, :4] = np.concatenate((table[:, :2] - half, table[:, :2] + half), axis=1) / SIDE
    made = decoder({"kind": "yolo", "objectness": False, "box": "xyxy", "unit": "share"}, {"y": (-1, 10, 6)})
    assert np.allclose(corners(detect(made, {"y": table[None]})), EXPECTED, atol=1e-4)


def test_yolo_heads_that_leave_the_grid_to_the_caller_are_decoded() -> None:
    cells = sum((SIDE // stride) ** 2 for stride in STRIDES)
    table = np.zeros((cells, 7), np.float32)
    for x, y, width, height, kind, score in THINGS:
        cell = int(y // 8) * 8 + int(x // 8)
        table[cell, :4] = (x / 8 - x // 8, y / 8 - y // 8, np.log(width / 8), np.log(height / 8))
        table[cell, 4], table[cell, 5 + kind] = 1.0, score
    made = decoder({"kind": "yolo", "strides": list(STRIDES)}, {"y": (-1, cells, 7)})
    assert np.allclose(corners(detect(made, {"y": table[None]})), EXPECTED, atol=1e-3)
    with pytest.raises(PackageError, match="make 84 cells, but the output has 100"):
        decoder({"kind": "yolo", "strides": list(STRIDES)}, {"y": (-1, 100, 7)})


def ssd_scores(things: Any, count: int) -> np.ndarray:
    scores = np.zeros((count, 3), np.float32)
    scores[:, 0] = 1.0
    for index, (*_, kind, score) in enumerate(things):
        scores[index] = 0.0
        scores[index, 1 + kind] = score
    return scores


@pytest.mark.parametrize("order", ["xy", "yx"])
def test_ssd_gives_back_boxes_coded_against_priors(order: str) -> None:
    priors = np.random.default_rng(1).uniform(0.2, 0.8, (5, 4))
    offsets = np.zeros((5, 4), np.float32)
    for index, (x, y, width, height, _, _) in enumerate(THINGS):
        target = np.array((x, y, width, height)) / SIDE
        offsets[index, :2] = (target[:2] - priors[index, :2]) / priors[index, 2:] / 0.1
        offsets[index, 2:] = np.log(target[2:] / priors[index, 2:]) / 0.2
    if order == "yx":
        offsets = offsets[:, [1, 0, 3, 2]]
    buffer = __import__("io").BytesIO()
    np.save(buffer, priors)
    task = {"kind": "ssd", "boxes": "b", "scores": "s", "priors": "p.npy", "order": order, "activation": "none"}
    made = decoder(task, {"b": (-1, 5, 4), "s": (-1, 5, 3)}, {"p.npy": buffer.getvalue()})
    found = detect(made, {"b": offsets[None], "s": ssd_scores(THINGS, 5)[None]})
    assert np.allclose(corners(found), EXPECTED, atol=1e-3)
    assert [thing.label for thing in found.objects] == ["1", "0"]


def test_ssd_generates_priors_per_stride() -> None:
    """Zero offsets give the priors themselves: cell centres with the stated sides."""
    count = 4 * 2 + 1
    task = {"kind": "ssd", "boxes": "b", "scores": "s", "strides": [32, 64], "sizes": [[8, 16], [40]]}
    task |= {"activation": "none", "iou": 1.0}
    made = decoder(task, {"b": (-1, count, 4), "s": (-1, count, 2)})
    scores = np.tile(np.array([0.0, 0.9], np.float32), (count, 1))
    found = detect(made, {"b": np.zeros((1, count, 4), np.float32), "s": scores[None]}, Geometry(SIDE, SIDE))
    expected = [[x - half, y - half, x + half, y + half] for y in (16, 48) for x in (16, 48) for half in (4, 8)]
    assert np.allclose(corners(found), [*expected, [12, 12, 52, 52]])


def test_ssd_takes_what_tensorflow_finished() -> None:
    table = np.array([[y - h / 2, x - w / 2, y + h / 2, x + w / 2] for x, y, w, h, _, _ in THINGS]) / SIDE
    outputs = {
        "b": np.concatenate((table, np.zeros((3, 4))))[None].astype(np.float32),
        "c": np.array([[1, 0, 0, 0, 7]], np.float32),
        "s": np.array([[0.9, 0.8, 0, 0, 0.99]], np.float32),
    }
    task = {"kind": "ssd", "boxes": "b", "scores": "s", "classes": "c", "form": "detections", "order": "yx"}
    task["labels"] = "l"
    made = decoder(task, {"b": (-1, 5, 4), "c": (-1, 5), "s": (-1, 5)}, {"l": b"cat\ndog"})
    found = detect(made, outputs)
    assert np.allclose(corners(found), EXPECTED, atol=1e-4)
    assert [thing.label for thing in found.objects] == ["dog", "cat"]


def test_ssd_without_a_batch_axis_is_refused() -> None:
    with pytest.raises(PackageError, match="three axes"):
        decoder({"kind": "ssd", "form": "corners", "boxes": "b", "scores": "s"}, {"b": (-1, 4), "s": (-1, 3)})


@pytest.mark.parametrize("option", [{"box": "xyxy"}, {"unit": "share"}])
def test_yolo_takes_no_strides_for_boxes_that_need_none(option: dict[str, Any]) -> None:
    with pytest.raises(PackageError, match="strides"):
        decoder({"kind": "yolo", "strides": [32], **option}, {"y": (-1, 4, 7)})


def test_ssd_without_priors_is_refused() -> None:
    with pytest.raises(PackageError, match="needs priors"):
        decoder({"kind": "ssd", "boxes": "b", "scores": "s"}, {"b": (-1, 5, 4), "s": (-1, 5, 3)})


# Suppression


def slow_suppression(found: Candidates, options: DetectionOptions) -> list[int]:
    """The textbook's loop, to compare with."""
    order = sorted(range(len(found.scores)), key=lambda index: (-found.scores[index], index))
    kept: list[int] = []
    for index in order:
        if found.scores[index] < options.threshold:
            continue
        rivals = [other for other in kept if found.classes[other] == found.classes[index]]
        if all(overlaps(found.boxes[[index, other]])[0, 1] <= options.iou for other in rivals):
            kept.append(index)
    return kept[: options.limit]


@given(st.integers(0, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.integers(1, 20))
@settings(deadline=None)
def test_suppression_keeps_what_the_textbook_keeps(count: int, seed: int, iou: float, limit: int) -> None:
    random = np.random.default_rng(seed)
    low = random.integers(0, 20, (count, 2))
    found = Candidates(
        np.concatenate((low, low + random.integers(0, 12, (count, 2))), axis=1).astype(float),
        random.integers(0, 8, count) / 8,
        random.integers(0, 3, count),
    )
    options = DetectionOptions(kind="x", threshold=0.25, iou=iou, limit=limit)
    assert suppress(found, options).tolist() == slow_suppression(found, options)


def test_a_flood_of_candidates_is_bounded() -> None:
    count = 50_000
    found = Candidates(np.tile([0.0, 0.0, 9.0, 9.0], (count, 1)), np.linspace(0.5, 1, count), np.zeros(count, int))
    options = DetectionOptions(kind="x", iou=1.0, limit=detection.MAX_CANDIDATES)
    assert suppress(found, options).tolist() == list(range(count - 1, count - 1 - detection.MAX_CANDIDATES, -1))


def test_absurd_sizes_stay_finite_and_inside_the_picture() -> None:
    outputs = yunet_outputs([(32, 32, 8, 8)])
    outputs["bbox_8"][outputs["cls_8"][..., 0] > 0, 2:] = 3e38
    assert corners(detect(yunet(), outputs)) == [[0, 0, 128, 100]]


# Batches


def test_an_item_does_not_depend_on_its_batch() -> None:
    items = [yunet_outputs([(20, 20, 8, 8)]), yunet_outputs([]), yunet_outputs([(40, 44, 9, 12), (12, 50, 6, 6)])]
    geometries = (GEOMETRY, Geometry(64, 64), Geometry(640, 640).scaled(x=10, y=10))
    together = {name: np.concatenate([item[name] for item in items]) for name in items[0]}
    made = yunet()
    assert made.decode(together, Context(geometries)) == [
        detect(made, item, geometry) for item, geometry in zip(items, geometries, strict=True)
    ]


# Embedding and regression


def test_an_embedding_has_unit_length() -> None:
    made = decoder({"kind": "embedding"}, {"e": (-1, 2)})
    results = made.decode({"e": np.array([[3.0, 4.0], [0.0, -2.0]], np.float32)}, Context((None, None)))
    assert results == [Embedding((0.6, 0.8)), Embedding((0.0, -1.0))]


def test_a_vector_of_zeros_has_no_direction() -> None:
    made = decoder({"kind": "embedding"}, {"e": (-1, 2)})
    with pytest.raises(EngineError, match="zeros"):
        made.decode({"e": np.zeros((1, 2), np.float32)}, Context((None,)))


def test_regression_gives_named_numbers_in_their_units() -> None:
    task = {"kind": "regression", "names": ["power", "pitch"], "units": {"power": "kW"}}
    task |= {"mean": [100, 0], "std": [50, 1]}
    made = decoder(task, {"y": (-1, 2)})
    (result,) = made.decode({"y": np.array([[2.0, 3.5]], np.float32)}, Context((None,)))
    assert result == Regression({"power": 200.0, "pitch": 3.5}, {"power": "kW"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"names": ["a"]}, "task.names"), ({"mean": [1, 2, 3]}, "task.mean"), ({"units": {"c": "kW"}}, "task.units")],
)
def test_regression_that_does_not_fit_the_output_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(PackageError) as caught:
        decoder({"kind": "regression", "names": ["a", "b"], **changes}, {"y": (-1, 2)})
    assert caught.value.facts["field"] == field


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 1.0]), min_size=1, max_size=40), st.integers(1, 50))
def test_the_best_scores_are_those_that_sorting_all_would_give_ties_included(scores: list[float], count: int) -> None:
    everything = sorted(range(len(scores)), key=lambda index: -scores[index])
    assert best(np.array(scores), count).tolist() == everything[:count]
