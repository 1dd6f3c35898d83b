"""LiteRT (TensorFlow Lite) to ONNX, for float networks of the operators below; others are named and refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgewise.convert.extras import need
from edgewise.convert.graph import OnnxGraph, Operand, Value
from edgewise.errors import PackageError
from edgewise.types import DATATYPES, Datatype, TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array

_DATATYPES: dict[int, Datatype] = {0: "FP32", 2: "INT32", 4: "INT64"}  # tflite.TensorType
_RELU = 1  # tflite.ActivationFunctionType
# What reading a flatbuffer raises whose offsets lead nowhere; it has no check of its own.
_DAMAGE = (struct.error, ValueError, TypeError, IndexError, AttributeError, KeyError, OverflowError, MemoryError)
_UNARY = {"ABS": "Abs", "RELU": "Relu", "LOGISTIC": "Sigmoid", "TANH": "Tanh", "SQRT": "Sqrt", "NEG": "Neg"}
_BINARY = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "MAXIMUM": "Max", "MINIMUM": "Min"}


def convert(source: Path, target: Path, *, dynamic_batch: bool = True) -> None:
    """Writes the ONNX form of a LiteRT model.

    Args:
        source: The ``.tflite`` file.
        target: The ``.onnx`` file; written when the conversion is complete.
        dynamic_batch: Lets the first axis have any size.

    Raises:
        MissingExtraError: The extra ``convert`` is not installed.
        PackageError: The file is damaged, or uses what this converter does not know. Facts: ``operator``.
    """
    tflite = need("tflite")
    graph = OnnxGraph(source.stem, dynamic_batch=dynamic_batch)
    content = source.read_bytes()
    if content[4:8] != b"TFL3":
        raise PackageError(f"{source.name} is not a LiteRT model", file=source.name)
    try:
        _Network(tflite.Model.GetRootAs(content), graph).build()
    except _DAMAGE as error:
        raise PackageError(f"{source.name} is damaged: {error}", file=source.name) from error
    graph.save(target)


class _Operator(NamedTuple):
    """One operator of the file; inputs and outputs are numbers of tensors, ``-1`` for none."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


class _Network:
    """One file under conversion."""

    def __init__(self, model: Any, graph: OnnxGraph) -> None:
        self._tflite = need("tflite")
        self._model = model
        self._subgraph = model.Subgraphs(0)
        self._graph = graph
        self._values: dict[int, Value] = {}
        self._handlers: dict[str, Callable[[_Operator], Value]] = {
            "CONV_2D": self._conv,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "RESHAPE": self._reshape,
            "L2_NORMALIZATION": self._l2_normalise,
            "PRELU": self._prelu,
            **dict.fromkeys(_UNARY, self._unary),
            **dict.fromkeys(_BINARY, self._binary),
        }

    def build(self) -> None:
        """Walks through the operators, which the file has in order of execution."""
        operators = self._operators()
        self._refuse_unknown(operators)
        for index in self._subgraph.InputsAsNumpy():
            self._values[int(index)] = self._graph.input(self._spec(int(index)))
        for operator in operators:
            result = self._handlers[operator.name](operator)
            self._values[operator.outputs[0]] = self._activated(result, operator)
        for index in self._subgraph.OutputsAsNumpy():
            self._graph.output(self._spec(int(index)), self._values[int(index)])

    def _operators(self) -> list[_Operator]:
        names = {code: name for name, code in vars(self._tflite.BuiltinOperator).items() if isinstance(code, int)}
        found = []
        for number in range(self._subgraph.OperatorsLength()):
            operator = self._subgraph.Operators(number)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            name = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "an unknown one")
            inputs = tuple(operator.Inputs(position) for position in range(operator.InputsLength()))
            outputs = tuple(operator.Outputs(position) for position in range(operator.OutputsLength()))
            found.append(_Operator(name, inputs, outputs, operator.BuiltinOptions()))
        return found

    def _refuse_unknown(self, operators: Sequence[_Operator]) -> None:
        for operator in operators:
            if operator.name not in self._handlers:
                known = ", ".join(sorted(self._handlers))
                raise PackageError(
                    f"Cannot convert the operator {operator.name}", hint=f"Known: {known}", operator=operator.name
                )

    def _conv(self, operator: _Operator) -> Value:
        options = self._options(operator, "Conv2DOptions")
        kernel = self._constant(operator.inputs[1]).transpose(0, 3, 1, 2)
        return self._convolved(operator, options, kernel, groups=1)

    def _depthwise(self, operator: _Operator) -> Value:
        options = self._options(operator, "DepthwiseConv2DOptions")
        kernel = self._constant(operator.inputs[1]).transpose(3, 0, 1, 2)
        return self._convolved(operator, options, kernel, groups=kernel.shape[0] // options.DepthMultiplier())

    def _convolved(self, operator: _Operator, options: Any, kernel: Array, *, groups: int) -> Value:
        bias = self._constant(operator.inputs[2]) if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None
        return self._graph.conv(
            self._value(operator.inputs[0]),
            kernel,
            bias,
            strides=(options.StrideH(), options.StrideW()),
            dilations=(options.DilationHFactor(), options.DilationWFactor()),
            same=options.Padding() == self._tflite.Padding.SAME,
            groups=groups,
        )

    def _reshape(self, operator: _Operator) -> Value:
        return self._graph.reshape(self._value(operator.inputs[0]), self._tensor(operator.outputs[0]).ShapeAsNumpy())

    def _l2_normalise(self, operator: _Operator) -> Value:
        return self._graph.l2_normalise(self._value(operator.inputs[0]))

    def _prelu(self, operator: _Operator) -> Value:
        return self._graph.prelu(self._value(operator.inputs[0]), self._constant(operator.inputs[1]))

    def _unary(self, operator: _Operator) -> Value:
        return self._graph.unary(_UNARY[operator.name], self._value(operator.inputs[0]))

    def _binary(self, operator: _Operator) -> Value:
        left, right = (self._operand(index) for index in operator.inputs)
        return self._graph.binary(_BINARY[operator.name], left, right)

    def _activated(self, result: Value, operator: _Operator) -> Value:
        """Applies the activation that an operator of the file may carry along."""
        kinds = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"} | {
            name: f"{name.title()}Options" for name in ("ADD", "SUB", "MUL", "DIV")
        }
        if operator.name not in kinds or operator.options is None:
            return result
        activation = self._options(operator, kinds[operator.name]).FusedActivationFunction()
        if activation == 0:
            return result
        if activation != _RELU:
            raise PackageError(f"Cannot convert the fused activation {activation}", operator=operator.name)
        return self._graph.unary("Relu", result)

    def _options(self, operator: _Operator, name: str) -> Any:
        options = getattr(self._tflite, name)()
        options.Init(operator.options.Bytes, operator.options.Pos)
        return options

    def _tensor(self, index: int) -> Any:
        return self._subgraph.Tensors(index)

    def _spec(self, index: int) -> TensorSpec:
        tensor = self._tensor(index)
        shape = tuple(int(size) for size in tensor.ShapeAsNumpy())
        return TensorSpec(tensor.Name().decode(), self._datatype(tensor), shape)

    def _datatype(self, tensor: Any) -> Datatype:
        if tensor.Type() not in _DATATYPES:
            raise PackageError(f"Cannot convert tensor {tensor.Name().decode()!r}: it is not float32 or an index")
        return _DATATYPES[tensor.Type()]

    def _operand(self, index: int) -> Operand:
        return self._values[index] if index in self._values else self._constant(index)

    def _value(self, index: int) -> Value:
        if index not in self._values:
            name = self._tensor(index).Name().decode()
            raise PackageError(f"Cannot convert: the constant {name!r} stands where a tensor is expected")
        return self._values[index]

    def _constant(self, index: int) -> Array:
        import numpy as np

        tensor = self._tensor(index)
        raw = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(raw, int):
            raise PackageError(f"Cannot convert: {tensor.Name().decode()!r} is not constant")
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        return np.frombuffer(raw.tobytes(), DATATYPES[self._datatype(tensor)]).reshape(shape)
