"""TensorFlow.js graph models (a JSON of nodes, a binary of weights) to ONNX, for float networks of the operators below.

What depends on constants alone is computed here; a convolution may have channels last only, as TensorFlow has it on
processors.
"""

from __future__ import annotations

import base64
import graphlib
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.convert.graph import OnnxGraph, Operand, Value
from edgewise.errors import PackageError
from edgewise.types import TensorSpec

if TYPE_CHECKING:
    import numpy as np

    from edgewise.types import Array

# What nodes lead to that lack an attribute or an input, or whose constants do not fit; files that are missing.
_DAMAGE = (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError, OSError)
_UNARY = {"Relu": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Abs": "Abs", "Neg": "Neg", "Exp": "Exp"}
_BINARY = {"Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div", "Maximum": "Max"}


def convert(source: Path, target: Path, *, weights: Sequence[Path] = (), dynamic_batch: bool = True) -> None:
    """Writes the ONNX form of a TensorFlow.js graph model.

    Args:
        source: The ``.json`` file.
        target: The ``.onnx`` file; written when the conversion is complete.
        weights: The binary files in the order of the manifest; those that it names, beside the source, when empty.
        dynamic_batch: Lets the first axis have any size.

    Raises:
        MissingExtraError: The extra ``convert`` is not installed.
        PackageError: The file is damaged, or uses what this converter does not know. Facts: ``operator``.
    """
    model = _read(source)
    graph = OnnxGraph(source.stem, dynamic_batch=dynamic_batch)
    try:
        _Network(model, _weights(model, source, weights), graph).build()
    except _DAMAGE as error:
        raise PackageError(f"{source.name} is damaged: {type(error).__name__}: {error}", file=source.name) from error
    graph.save(target)


class _Quantization(msgspec.Struct):
    dtype: str
    scale: float = 1.0
    min: float = 0.0


class _Weight(msgspec.Struct):
    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: _Quantization | None = None


class _Group(msgspec.Struct):
    paths: list[str]
    weights: list[_Weight]


class _Node(msgspec.Struct):
    name: str
    op: str
    input: list[str] = []
    attr: dict[str, Any] = {}


class _Topology(msgspec.Struct):
    node: list[_Node]


class _Signature(msgspec.Struct):
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]


class _Model(msgspec.Struct, rename="camel"):
    """What is read of the JSON; the rest is ignored."""

    model_topology: _Topology
    weights_manifest: list[_Group]
    signature: _Signature


def _read(source: Path) -> _Model:
    try:
        return msgspec.json.decode(source.read_bytes(), type=_Model)
    except msgspec.DecodeError as error:
        raise PackageError(f"{source.name} is no TensorFlow.js graph model: {error}", file=source.name) from error


def _weights(model: _Model, source: Path, files: Sequence[Path]) -> dict[str, Array]:
    """The constants by name, cut from the binary files one after the other."""
    import numpy as np

    found: dict[str, Array] = {}
    left = list(files)
    for group in model.weights_manifest:
        paths = (
            [left.pop(0) for _ in group.paths] if left else [source.parent / Path(name).name for name in group.paths]
        )
        content = b"".join(path.read_bytes() for path in paths)
        start = 0
        for weight in group.weights:
            stored = _stored(weight)
            end = start + math.prod(weight.shape) * stored.itemsize
            if end > len(content):
                raise PackageError(f"The weights of {source.name} are truncated at {weight.name!r}")
            raw = np.frombuffer(content[start:end], stored).reshape(weight.shape)
            found[weight.name] = _restored(raw, weight)
            start = end
    return found


def _stored(weight: _Weight) -> np.dtype[Any]:
    """What the elements of a weight are in the file."""
    import numpy as np

    kind = weight.quantization.dtype if weight.quantization else weight.dtype
    if kind not in {"float32", "float16", "int32", "uint8", "uint16", "bool"}:
        raise PackageError(f"Cannot convert: weight {weight.name!r} is of type {kind}")
    return np.dtype(kind).newbyteorder("<")


def _restored(raw: Array, weight: _Weight) -> Array:
    """A weight as the network computes with it."""
    import numpy as np

    quantization = weight.quantization
    if quantization is None or quantization.dtype == "float16":
        return raw.astype(weight.dtype)
    return (raw * np.float32(quantization.scale) + np.float32(quantization.min)).astype(weight.dtype)


class _Network:
    """One model under conversion."""

    def __init__(self, model: _Model, weights: Mapping[str, Array], graph: OnnxGraph) -> None:
        self._nodes = {node.name: node for node in model.model_topology.node}
        self._signature = model.signature
        self._weights = weights
        self._graph = graph
        self._done: dict[str, list[Operand]] = {}
        self._handlers: dict[str, Callable[[_Node], Operand | list[Operand]]] = {
            "Placeholder": self._placeholder,
            "Const": lambda node: self._weights[node.name],
            "Identity": lambda node: self._operand(node.input[0]),
            "SparseToDense": self._sparse_to_dense,
            "Conv2D": self._conv,
            "DepthwiseConv2dNative": self._depthwise,
            "MaxPool": self._max_pool,
            "Pad": self._pad,
            "PadV2": self._pad,
            "Transpose": self._transpose,
            "Reshape": self._reshape,
            "ConcatV2": self._concat,
            "SplitV": self._split,
            "ResizeBilinear": self._resize,
            "LeakyRelu": self._leaky_relu,
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys(_BINARY, self._binary),
        }

    def build(self) -> None:
        """Converts every node after those it depends on."""
        for name in self._order():
            node = self._nodes[name]
            if node.op not in self._handlers:
                known = ", ".join(sorted(self._handlers))
                raise PackageError(f"Cannot convert the operator {node.op}", hint=f"Known: {known}", operator=node.op)
            result = self._handlers[node.op](node)
            self._done[name] = result if isinstance(result, list) else [result]
        for name, described in self._signature.outputs.items():
            self._graph.output(TensorSpec(_stem(name), "FP32", _shape(described["tensorShape"])), self._value(name))

    def _order(self) -> list[str]:
        depends = {node.name: [_stem(source) for source in node.input] for node in self._nodes.values()}
        for name in (source for sources in depends.values() for source in sources):
            if name not in self._nodes:
                raise PackageError(f"The model has no node {name!r}, which another one uses")
        try:
            return list(graphlib.TopologicalSorter(depends).static_order())
        except graphlib.CycleError as error:
            raise PackageError("The nodes of the model form a circle") from error

    def _placeholder(self, node: _Node) -> Value:
        return self._graph.input(TensorSpec(node.name, "FP32", _shape(node.attr["shape"]["shape"])))

    def _sparse_to_dense(self, node: _Node) -> Array:
        """Of constants only: how reshapes get their targets in models that came through ONNX."""
        import numpy as np

        indices, shape, values, default = (self._constant(source) for source in node.input)
        dense = np.full(shape, default, values.dtype)
        dense[tuple(indices.T)] = values
        return dense

    def _conv(self, node: _Node) -> Value:
        kernel = self._constant(node.input[1]).transpose(3, 2, 0, 1)
        return self._convolved(node, kernel, groups=1)

    def _depthwise(self, node: _Node) -> Value:
        kernel = self._constant(node.input[1])
        height, width, channels, multiplier = kernel.shape
        turned = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
        return self._convolved(node, turned, groups=channels)

    def _convolved(self, node: _Node, kernel: Array, *, groups: int) -> Value:
        return self._graph.conv(
            self._value(node.input[0]),
            kernel,
            None,
            strides=_window(node, "strides"),
            dilations=_window(node, "dilations"),
            same=_is_same(node),
            groups=groups,
        )

    def _max_pool(self, node: _Node) -> Value:
        x = self._value(node.input[0])
        return self._graph.max_pool(
            x, size=_window(node, "ksize"), strides=_window(node, "strides"), same=_is_same(node)
        )

    def _pad(self, node: _Node) -> Value:
        fill = float(self._constant(node.input[2])) if len(node.input) > 2 else 0.0
        return self._graph.pad(self._value(node.input[0]), self._constant(node.input[1]), fill)

    def _transpose(self, node: _Node) -> Value:
        return self._graph.transpose(self._value(node.input[0]), self._constant(node.input[1]).tolist())

    def _reshape(self, node: _Node) -> Value:
        return self._graph.reshape(self._value(node.input[0]), self._constant(node.input[1]).reshape(-1).tolist())

    def _concat(self, node: _Node) -> Value:
        *parts, axis = node.input
        return self._graph.concat([self._operand(part) for part in parts], int(self._constant(axis)))

    def _split(self, node: _Node) -> Operand | list[Operand]:
        source, sizes, axis = node.input
        return [*self._graph.split(self._value(source), self._constant(sizes).tolist(), int(self._constant(axis)))]

    def _resize(self, node: _Node) -> Value:
        if node.attr.get("align_corners", {}).get("b"):
            coordinates = "align_corners"
        else:
            coordinates = "half_pixel" if node.attr.get("half_pixel_centers", {}).get("b") else "asymmetric"
        size = self._constant(node.input[1]).tolist()
        return self._graph.resize_bilinear(self._value(node.input[0]), size, coordinates=coordinates)

    def _leaky_relu(self, node: _Node) -> Value:
        return self._graph.unary("LeakyRelu", self._value(node.input[0]), alpha=float(node.attr["alpha"]["f"]))

    def _unary(self, node: _Node) -> Value:
        return self._graph.unary(_UNARY[node.op], self._value(node.input[0]))

    def _binary(self, node: _Node) -> Operand:
        left, right = (self._operand(source) for source in node.input)
        if isinstance(left, Value) or isinstance(right, Value):
            return self._graph.binary(_BINARY[node.op], left, right)
        return _FOLDED[_BINARY[node.op]](left, right)

    def _operand(self, source: str) -> Operand:
        name, _, number = source.partition(":")
        return self._done[name][int(number or 0)]

    def _value(self, source: str) -> Value:
        operand = self._operand(source)
        if not isinstance(operand, Value):
            raise PackageError(f"Cannot convert: the constant {source!r} stands where a tensor is expected")
        return operand

    def _constant(self, source: str) -> Array:
        operand = self._operand(source)
        if isinstance(operand, Value):
            raise PackageError(f"Cannot convert: {source!r} must be constant")
        return operand


_FOLDED: dict[str, Callable[[Array, Array], Array]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}


def _stem(source: str) -> str:
    """The node that a reference such as ``split:1`` or ``^control`` points to."""
    return source.removeprefix("^").partition(":")[0]


def _shape(described: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(dimension.get("size", 0)) for dimension in described.get("dim", ()))


def _window(node: _Node, name: str) -> tuple[int, int]:
    """Height and width of an attribute that lists all four axes."""
    if base64.b64decode(node.attr.get("data_format", {}).get("s", "")) not in {b"", b"NHWC"}:
        raise PackageError(f"Cannot convert {node.name!r}: its channels do not come last", operator=node.op)
    _, height, width, _ = (int(size) for size in node.attr[name]["list"]["i"])
    return height, width


def _is_same(node: _Node) -> bool:
    padding = base64.b64decode(node.attr["padding"]["s"])
    if padding not in {b"SAME", b"VALID"}:
        raise PackageError(f"Cannot convert the padding {padding.decode()} of {node.name!r}", operator=node.op)
    return padding == b"SAME"
