"""TensorFlow.js to ONNX, operator by operator: tiny graph models against the same sums in numpy and PyTorch."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.convert.check import Artifact
from edgewise.errors import MissingExtraError, PackageError

pytest.importorskip("onnx")

from edgewise.convert import tfjs

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(5)
X = RANDOM.uniform(-1, 1, (1, 6, 8, 3)).astype(np.float32)


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def ints(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


def dims(shape: Sequence[int]) -> dict[str, Any]:
    return {"dim": [{"size": str(size)} for size in shape]}


class GraphModel:
    """A graph model with one input ``x`` and one output ``y``."""

    def __init__(self, **constants: Array) -> None:
        self.constants = constants
        shape = {"attr": {"shape": {"shape": dims(X.shape)}}}
        self.nodes: list[dict[str, Any]] = [{"name": "x", "op": "Placeholder", **shape}]
        self.nodes += [{"name": name, "op": "Const"} for name in constants]
        self.quantization: dict[str, Any] | None = None

    def node(self, name: str, op: str, *inputs: str, **attr: Mapping[str, Any]) -> GraphModel:
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attr})
        return self

    def write(self, folder: Path, *, shape: Sequence[int] = (1,)) -> Path:
        weights = [
            {"name": name, "shape": array.shape, "dtype": array.dtype.name}
            | ({"quantization": self.quantization} if self.quantization and array.dtype == np.float32 else {})
            for name, array in self.constants.items()
        ]
        stored = [self._stored(array) for array in self.constants.values()]
        (folder / "group1.bin").write_bytes(b"".join(stored))
        model = {
            "format": "graph-model",
            "modelTopology": {"node": self.nodes},
            "weightsManifest": [{"paths": ["group1.bin"], "weights": weights}],
            "signature": {"inputs": {"x:0": {}}, "outputs": {"y:0": {"name": "y:0", "tensorShape": dims(shape)}}},
        }
        (folder / "model.json").write_text(json.dumps(model))
        return folder / "model.json"

    def _stored(self, array: Array) -> bytes:
        if not self.quantization or array.dtype != np.float32:
            return array.tobytes()
        if self.quantization["dtype"] == "float16":
            return array.astype(np.float16).tobytes()
        return np.rint((array - self.quantization["min"]) / self.quantization["scale"]).astype(np.uint8).tobytes()


def run(model: GraphModel, folder: Path, expected: Array, *, x: Array = X) -> None:
    tfjs.convert(model.write(folder, shape=expected.shape), folder / "a.onnx")
    found = Artifact("onnxruntime", folder / "a.onnx").run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def convolved(x: Array, kernel: Array, *, stride: int = 1, padding: Any = 0, groups: int = 1) -> Array:
    """A convolution in PyTorch, channels last; ``kernel`` as TensorFlow has it."""
    torch = pytest.importorskip("torch")
    moved = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    turned = torch.from_numpy(np.ascontiguousarray(kernel))
    return np.asarray(
        torch.nn.functional.conv2d(moved, turned, stride=stride, padding=padding, groups=groups).numpy()
    ).transpose(0, 2, 3, 1)


CONV = {"strides": ints(1, 1, 1, 1), "dilations": ints(1, 1, 1, 1), "data_format": text("NHWC")}


def test_a_convolution(tmp_path: Path) -> None:
    kernel = RANDOM.uniform(-1, 1, (3, 3, 3, 5)).astype(np.float32)
    model = GraphModel(k=kernel).node("y", "Conv2D", "x", "k", padding=text("VALID"), **CONV)
    run(model, tmp_path, convolved(X, kernel.transpose(3, 2, 0, 1)))


def test_a_convolution_that_keeps_the_size(tmp_path: Path) -> None:
    kernel = RANDOM.uniform(-1, 1, (3, 3, 3, 5)).astype(np.float32)
    model = GraphModel(k=kernel).node("y", "Conv2D", "x", "k", padding=text("SAME"), **CONV)
    run(model, tmp_path, convolved(X, kernel.transpose(3, 2, 0, 1), padding=1))


def test_a_convolution_of_each_channel_by_itself(tmp_path: Path) -> None:
    kernel = RANDOM.uniform(-1, 1, (3, 3, 3, 2)).astype(np.float32)
    model = GraphModel(k=kernel).node("y", "DepthwiseConv2dNative", "x", "k", padding=text("VALID"), **CONV)
    run(model, tmp_path, convolved(X, kernel.transpose(2, 3, 0, 1).reshape(6, 1, 3, 3), groups=3))


def test_between_convolutions_no_transpose_is_left(tmp_path: Path) -> None:
    import onnx

    kernel = RANDOM.uniform(-1, 1, (1, 1, 3, 3)).astype(np.float32)
    model = GraphModel(k=kernel, b=np.array([1, 2, 3], np.float32))
    model.node("a", "Conv2D", "x", "k", padding=text("VALID"), **CONV).node("c", "Add", "a", "b")
    model.node("d", "LeakyRelu", "c", alpha={"f": 0.1}).node("y", "Conv2D", "d", "k", padding=text("VALID"), **CONV)
    turned = kernel.transpose(3, 2, 0, 1)
    middle = convolved(X, turned) + np.array([1, 2, 3], np.float32)
    run(model, tmp_path, convolved(np.where(middle > 0, middle, 0.1 * middle), turned))
    operators = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert operators.count("Transpose") == 2  # one on the way in, one on the way out


def test_the_largest_of_a_window(tmp_path: Path) -> None:
    attributes = {"ksize": ints(1, 2, 2, 1), "strides": ints(1, 2, 2, 1), "padding": text("VALID")}
    expected = X.reshape(1, 3, 2, 4, 2, 3).max(axis=(2, 4))
    run(GraphModel().node("y", "MaxPool", "x", **attributes), tmp_path, expected)


def test_padding_with_a_value(tmp_path: Path) -> None:
    around = np.array([[0, 0], [1, 2], [3, 0], [0, 1]], np.int32)
    model = GraphModel(p=around, v=np.array(-2, np.float32)).node("y", "PadV2", "x", "p", "v")
    run(model, tmp_path, np.pad(X, around, constant_values=-2))


def test_padding_in_the_layout_of_a_convolution(tmp_path: Path) -> None:
    around = np.array([[0, 0], [1, 2], [3, 0], [0, 1]], np.int32)
    kernel = RANDOM.uniform(-1, 1, (1, 1, 3, 5)).astype(np.float32)
    model = GraphModel(k=kernel, p=around).node("c", "Conv2D", "x", "k", padding=text("VALID"), **CONV)
    run(model.node("y", "Pad", "c", "p"), tmp_path, np.pad(convolved(X, kernel.transpose(3, 2, 0, 1)), around))


def test_turning_axes_and_joining(tmp_path: Path) -> None:
    model = GraphModel(p=np.array([0, 3, 1, 2], np.int32), a=np.array(1, np.int32))
    model.node("t", "Transpose", "x", "p").node("r", "Relu", "t").node("y", "ConcatV2", "t", "r", "a")
    turned = X.transpose(0, 3, 1, 2)
    run(model, tmp_path, np.concatenate([turned, np.maximum(turned, 0)], axis=1))


def test_cutting_and_reshaping(tmp_path: Path) -> None:
    sizes, axis, shape = np.array([1, 2], np.int32), np.array(3, np.int32), np.array([1, -1, 2], np.int32)
    model = GraphModel(n=sizes, a=axis, s=shape).node("c", "SplitV", "x", "n", "a").node("y", "Reshape", "c:1", "s")
    run(model, tmp_path, X[..., 1:].reshape(1, -1, 2))


@pytest.mark.parametrize("size", [(12, 16), (3, 4)])
def test_scaling_a_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    model = GraphModel(s=np.array(size, np.int32))
    model.node("y", "ResizeBilinear", "x", "s", half_pixel_centers={"b": True}, align_corners={"b": False})
    moved = torch.from_numpy(np.ascontiguousarray(X.transpose(0, 3, 1, 2)))
    expected = torch.nn.functional.interpolate(moved, size, mode="bilinear", align_corners=False)
    run(model, tmp_path, expected.numpy().transpose(0, 2, 3, 1))


def test_what_depends_on_constants_alone_is_computed_while_converting(tmp_path: Path) -> None:
    model = GraphModel(
        i=np.array([[0]], np.int32), n=np.array([2], np.int32), v=np.array([1], np.int32), d=np.array(0, np.int32),
        e=np.array([0, 144], np.int32),
    )  # fmt: skip
    model.node("t", "SparseToDense", "i", "n", "v", "d").node("s", "AddV2", "t", "e").node("y", "Reshape", "x", "s")
    run(model, tmp_path, X.reshape(1, 144))


@pytest.mark.parametrize("kind", ["float16", "uint8"])
def test_weights_that_are_stored_small_are_restored(tmp_path: Path, kind: str) -> None:
    levels = np.array([0.0, 0.5, 1.5], np.float32)
    model = GraphModel(b=levels)
    model.quantization = {"dtype": kind, "scale": 0.5, "min": 0.0}
    run(model.node("y", "Add", "x", "b"), tmp_path, X + levels)


def test_a_batch_gives_what_its_items_give(tmp_path: Path) -> None:
    kernel = RANDOM.uniform(-1, 1, (3, 3, 3, 5)).astype(np.float32)
    model = GraphModel(k=kernel, s=np.array([1, -1], np.int32))
    model.node("c", "Conv2D", "x", "k", padding=text("VALID"), **CONV).node("y", "Reshape", "c", "s")
    batch = np.concatenate([X, X * 0.5, -X])
    expected = convolved(batch, kernel.transpose(3, 2, 0, 1)).reshape(3, -1)
    run(model, tmp_path, expected, x=batch)


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="the operator NonMaxSuppressionV5") as caught:
        tfjs.convert(GraphModel().node("y", "NonMaxSuppressionV5", "x").write(tmp_path), tmp_path / "a.onnx")
    assert caught.value.facts["operator"] == "NonMaxSuppressionV5"
    assert not (tmp_path / "a.onnx").exists()


def test_a_circle_is_refused(tmp_path: Path) -> None:
    model = GraphModel().node("a", "Relu", "y").node("y", "Relu", "a")
    with pytest.raises(PackageError, match="circle"):
        tfjs.convert(model.write(tmp_path), tmp_path / "a.onnx")


def test_a_node_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no node 'lost'"):
        tfjs.convert(GraphModel().node("y", "Relu", "lost").write(tmp_path), tmp_path / "a.onnx")


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    source = GraphModel(b=np.zeros(3, np.float32)).node("y", "Add", "x", "b").write(tmp_path)
    (tmp_path / "group1.bin").write_bytes(bytes(8))
    with pytest.raises(PackageError, match="truncated at 'b'"):
        tfjs.convert(source, tmp_path / "a.onnx")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"modelTopology": {"node": 5}}'])
def test_what_is_no_graph_model_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(PackageError, match="no TensorFlow"):
        tfjs.convert(tmp_path / "model.json", tmp_path / "a.onnx")


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError) as caught:
        tfjs.convert(GraphModel().node("y", "Relu", "x").write(tmp_path), tmp_path / "a.onnx")
    assert caught.value.hint == "pip install 'edgewise[convert]'"


def take(what: Any, path: Sequence[str | int]) -> None:
    """Removes a part of a document."""
    for step in path[:-1]:
        what = what[step]
    del what[path[-1]]


@pytest.mark.parametrize(
    "path",
    [
        ["modelTopology", "node", 0, "attr"],
        ["modelTopology", "node", 0],
        ["modelTopology", "node", 2, "input", 1],
        ["modelTopology", "node", 2, "attr", "strides"],
        ["modelTopology", "node", 2, "attr", "padding"],
        ["weightsManifest", 0, "weights", 0],
        ["weightsManifest", 0, "weights", 0, "shape", 0],
        ["signature", "outputs", "y:0", "tensorShape"],
    ],
)
def test_a_model_that_lacks_a_part_is_refused(tmp_path: Path, path: Sequence[str | int]) -> None:
    model = GraphModel(k=np.ones((3, 3, 3, 4), np.float32))
    model.node("y", "Conv2D", "x", "k", strides=ints(1, 1, 1, 1), dilations=ints(1, 1, 1, 1), padding=text("SAME"))
    source = model.write(tmp_path, shape=(1, 6, 8, 4))
    tfjs.convert(source, tmp_path / "whole.onnx")
    document = json.loads(source.read_text())
    take(document, path)
    source.write_text(json.dumps(document))
    with pytest.raises(PackageError):
        tfjs.convert(source, tmp_path / "damaged.onnx")
    assert not (tmp_path / "damaged.onnx").exists()


def test_weights_that_are_not_there_are_told(tmp_path: Path) -> None:
    source = GraphModel(k=X).node("y", "Add", "x", "k").write(tmp_path, shape=X.shape)
    (tmp_path / "group1.bin").unlink()
    with pytest.raises(PackageError, match=r"group1\.bin"):
        tfjs.convert(source, tmp_path / "a.onnx")
