"""Building an ONNX graph from a network of the TensorFlow family, whose convolutions have channels last.

ONNX convolutions have channels first. Instead of a transpose on either side of each, a ``Value`` remembers in which
order its axes lie in the ONNX tensor, and operations work in that order where they can; a transpose is written only
where the order matters and differs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from edgewise._lib.files import write_atomic
from edgewise.convert.extras import need
from edgewise.errors import PackageError
from edgewise.types import DATATYPES, TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array

OPSET = 18
BATCH = "batch"
_NHWC = (0, 2, 3, 1)  # where the axes of a channels-last tensor lie in a channels-first one
_NCHW = (0, 3, 1, 2)


class Value(NamedTuple):
    """A tensor whose axis ``i`` is axis ``order[i]`` of the ONNX tensor ``name``."""

    name: str
    order: tuple[int, ...]


Operand: TypeAlias = "Value | Array"


class OnnxGraph:
    """An ONNX graph under construction.

    Args:
        name: Of the graph.
        dynamic_batch: Makes the first axis of inputs and outputs free, and the first axis of reshapes follow it.
    """

    def __init__(self, name: str, *, dynamic_batch: bool) -> None:
        self._onnx = need("onnx")
        self._name = name
        self._dynamic_batch = dynamic_batch
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._numbers = itertools.count()
        self._transposed: dict[tuple[str, tuple[int, ...]], str] = {}

    def input(self, spec: TensorSpec) -> Value:
        """Adds an input of the graph."""
        self._inputs.append(self._described(spec))
        return Value(spec.name, tuple(range(len(spec.shape))))

    def output(self, spec: TensorSpec, value: Value) -> None:
        """Names a value as an output of the graph."""
        self._node("Identity", [self._laid(value, tuple(range(len(value.order))))], [spec.name])
        self._outputs.append(self._described(spec))

    def conv(
        self,
        x: Value,
        kernel: Array,
        bias: Array | None,
        *,
        strides: Sequence[int],
        dilations: Sequence[int],
        same: bool,
        groups: int = 1,
    ) -> Value:
        """A convolution; ``kernel`` is laid out as ONNX has it, ``[out, in / groups, height, width]``."""
        inputs = [self._laid(x, _NCHW), self._constant(kernel)]
        if bias is not None:
            inputs.append(self._constant(bias))
        padding = _padding(kernel.shape[2:], strides, dilations) if same else {}
        return self._channels_first(
            "Conv", inputs, strides=list(strides), dilations=list(dilations), group=groups, **padding
        )

    def max_pool(self, x: Value, *, size: Sequence[int], strides: Sequence[int], same: bool) -> Value:
        """Maximum over windows of ``size``, height and width."""
        padding = _padding(size, strides, (1, 1)) if same else {}
        return self._channels_first(
            "MaxPool", [self._laid(x, _NCHW)], kernel_shape=list(size), strides=list(strides), **padding
        )

    def resize_bilinear(self, x: Value, size: Sequence[int], *, coordinates: str) -> Value:
        """Scales to ``size``, height and width; ``coordinates`` is ONNX's name of how points are mapped."""
        import numpy as np

        laid = self._laid(x, _NCHW)
        # Not by the attribute "axes": ONNX Runtime 1.31 moves a transpose through such a Resize wrongly.
        kept = self._node("Shape", [laid], start=0, end=2)[0]
        sizes = self._node("Concat", [kept, self._constant(np.array(size, np.int64))], axis=0)[0]
        return self._channels_first(
            "Resize", [laid, "", "", sizes], mode="linear", coordinate_transformation_mode=coordinates
        )

    def unary(self, op: str, x: Value, **attributes: Any) -> Value:
        """An operation on each element."""
        return Value(self._node(op, [x.name], **attributes)[0], x.order)

    def binary(self, op: str, left: Operand, right: Operand) -> Value:
        """An operation on pairs of elements, broadcast as numpy does; at least one side is a value."""
        lead = _lead(left, right)
        names = [self._like(lead, operand) for operand in (left, right)]
        return Value(self._node(op, names)[0], lead.order)

    def concat(self, values: Sequence[Operand], axis: int) -> Value:
        """Joins along an axis."""
        lead = _lead(*values)
        names = [self._like(lead, value) for value in values]
        return Value(self._node("Concat", names, axis=lead.order[axis])[0], lead.order)

    def split(self, x: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        """Cuts along an axis into pieces of these sizes."""
        import numpy as np

        outputs = [self._fresh("Split") for _ in sizes]
        self._node("Split", [x.name, self._constant(np.array(sizes, np.int64))], outputs, axis=x.order[axis])
        return [Value(name, x.order) for name in outputs]

    def pad(self, x: Value, paddings: Array, value: float = 0.0) -> Value:
        """Adds ``paddings[axis] = (before, after)`` elements of ``value``."""
        import numpy as np

        turned = np.asarray(paddings, np.int64)[list(_inverse(x.order))]
        inputs = [x.name, self._constant(turned.T.reshape(-1)), self._constant(np.array(value, np.float32))]
        return Value(self._node("Pad", inputs)[0], x.order)

    def transpose(self, x: Value, axes: Sequence[int]) -> Value:
        """Another order of the axes; costs nothing."""
        return Value(x.name, tuple(x.order[axis] for axis in axes))

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """The same elements, in another shape."""
        import numpy as np

        wanted = [int(size) for size in shape]
        if self._dynamic_batch and wanted[0] == 1:
            wanted[0] = 0  # as the input has it
        laid = self._laid(x, tuple(range(len(x.order))))
        name = self._node("Reshape", [laid, self._constant(np.array(wanted, np.int64))])[0]
        return Value(name, tuple(range(len(wanted))))

    def l2_normalise(self, x: Value) -> Value:
        """Divides by the length of the vector along the last axis."""
        return Value(self._node("LpNormalization", [x.name], axis=x.order[-1], p=2)[0], x.order)

    def prelu(self, x: Value, slope: Array) -> Value:
        """``x`` where it is positive, ``slope * x`` elsewhere.

        Written as ``relu(x) - slope * relu(-x)``, the same numbers: ONNX Runtime runs MobileFaceNet so in half the time
        that it takes with its own PRelu, which is not vectorised.
        """
        negative = self.unary("Relu", self.unary("Neg", x))
        return self.binary("Sub", self.unary("Relu", x), self.binary("Mul", negative, slope))

    def save(self, path: Path) -> None:
        """Checks the graph and writes it to one file.

        Raises:
            PackageError: The network makes no valid graph.
        """
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        model = helper.make_model(
            graph, producer_name="edgewise", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        try:
            self._onnx.checker.check_model(model, full_check=True)
        except (self._onnx.checker.ValidationError, self._onnx.shape_inference.InferenceError) as error:
            raise PackageError(f"The network makes no valid ONNX graph: {error}") from error
        write_atomic(path, model.SerializeToString())

    def _channels_first(self, op: str, inputs: list[str], **attributes: Any) -> Value:
        return Value(self._node(op, inputs, **attributes)[0], _NHWC)

    def _laid(self, x: Value, axes: Sequence[int]) -> str:
        """The name of an ONNX tensor that has the axes of ``x`` in the order ``axes``."""
        order = tuple(x.order[axis] for axis in axes)
        if order == tuple(range(len(order))):
            return x.name
        key = (x.name, order)
        if key not in self._transposed:
            self._transposed[key] = self._node("Transpose", [x.name], perm=list(order))[0]
        return self._transposed[key]

    def _like(self, lead: Value, operand: Operand) -> str:
        """The name of an ONNX tensor that has the operand's axes lie as the lead's do."""
        axes = _inverse(lead.order)
        if isinstance(operand, Value):
            if len(operand.order) != len(axes):
                raise PackageError(f"Cannot convert: {operand.name} has fewer axes than what it is combined with")
            return self._laid(operand, axes)
        full = operand.reshape((1,) * (len(axes) - operand.ndim) + operand.shape)
        return self._constant(full.transpose(axes))

    def _constant(self, array: Array) -> str:
        import numpy as np

        name = self._fresh("constant")
        self._constants[name] = self._onnx.numpy_helper.from_array(
            np.ascontiguousarray(array).reshape(array.shape), name
        )
        return name

    def _node(self, op: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> list[str]:
        names = outputs or [self._fresh(op)]
        self._nodes.append(self._onnx.helper.make_node(op, inputs, names, **attributes))
        return names

    def _fresh(self, stem: str) -> str:
        return f"{stem}_{next(self._numbers)}"

    def _described(self, spec: TensorSpec) -> Any:
        import numpy as np

        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(DATATYPES[spec.datatype]))
        shape: list[int | str] = list(spec.shape)
        if self._dynamic_batch and shape:
            shape[0] = BATCH
        return self._onnx.helper.make_tensor_value_info(spec.name, kind, shape)


def _lead(*operands: Operand) -> Value:
    """The value whose layout the others follow: the one with the most axes."""
    values = [operand for operand in operands if isinstance(operand, Value)]
    return max(values, key=lambda value: len(value.order))


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(order.index(axis) for axis in range(len(order)))


def _padding(size: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> dict[str, Any]:
    """TensorFlow's ``SAME`` as attributes: in numbers where they do not depend on the size of the picture."""
    if tuple(strides) == (1, 1):
        total = [(side - 1) * dilation for side, dilation in zip(size, dilations, strict=True)]
        return {"pads": [*(each // 2 for each in total), *(each - each // 2 for each in total)]}
    if tuple(dilations) == (1, 1):
        return {"auto_pad": "SAME_UPPER"}
    raise PackageError("Cannot convert a convolution with both stride and dilation that keeps the size")
