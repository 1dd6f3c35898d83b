"""LiteRT to ONNX, operator by operator: tiny networks are written, run by LiteRT, converted, run by ONNX Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.convert.check import Artifact, check_conversion
from edgewise.errors import MissingExtraError, PackageError

tflite = pytest.importorskip("tflite")
flatbuffers = pytest.importorskip("flatbuffers")
pytest.importorskip("onnx")
pytest.importorskip("ai_edge_litert")

from edgewise.convert import tflite as converter  # noqa: E402  after what it needs is known to be there

RANDOM = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


class Options:
    """A table of options: name, its fields with values, and its number in the union."""

    def __init__(self, name: str, **fields: int) -> None:
        self.name = name
        self.fields = fields

    def write(self, builder: Any) -> int:
        getattr(tflite, f"{self.name}Start")(builder)
        for field, value in self.fields.items():
            getattr(tflite, f"{self.name}Add{field}")(builder, value)
        return int(getattr(tflite, f"{self.name}End")(builder))


class Network:
    """A LiteRT file of one operator."""

    def __init__(self, operator: str, *inputs: np.ndarray[Any, Any], options: Options | None = None) -> None:
        """The first input is fed, the others are constants."""
        self.operator = operator
        self.inputs = inputs
        self.options = options

    def write(self, path: Path, *, output_shape: Sequence[int]) -> None:
        builder = flatbuffers.Builder(1024)
        buffers = [self._buffer(builder, None), *(self._buffer(builder, array) for array in self.inputs[1:])]
        tensors = [
            self._tensor(builder, f"in{number}" if number else "x", array, number)
            for number, array in enumerate(self.inputs)
        ]
        out = np.zeros(output_shape, np.float32)
        tensors.append(self._tensor(builder, "y", out, 0))
        subgraph = self._subgraph(builder, tensors)
        code = self._code(builder)
        self._model(builder, buffers, subgraph, code)
        path.write_bytes(bytes(builder.Output()))

    def _buffer(self, builder: Any, array: np.ndarray[Any, Any] | None) -> int:
        data = None if array is None else builder.CreateByteVector(array.tobytes())
        tflite.BufferStart(builder)
        if data is not None:
            tflite.BufferAddData(builder, data)
        return int(tflite.BufferEnd(builder))

    def _tensor(self, builder: Any, name: str, array: np.ndarray[Any, Any], buffer: int) -> int:
        label = builder.CreateString(name)
        shape = builder.CreateNumpyVector(np.array(array.shape, np.int32))
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, {"float32": 0, "int32": 2, "int8": 9}[array.dtype.name])
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, label)
        return int(tflite.TensorEnd(builder))

    def _subgraph(self, builder: Any, tensors: list[int]) -> int:
        count = len(self.inputs)
        numbers = builder.CreateNumpyVector(np.arange(count, dtype=np.int32))
        result = builder.CreateNumpyVector(np.array([count], np.int32))
        options = self.options.write(builder) if self.options else None
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, 0)
        tflite.OperatorAddInputs(builder, numbers)
        tflite.OperatorAddOutputs(builder, result)
        if self.options and options is not None:
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, self.options.name))
            tflite.OperatorAddBuiltinOptions(builder, options)
        operators = vector(builder, [tflite.OperatorEnd(builder)])
        described = vector(builder, tensors)
        first = builder.CreateNumpyVector(np.array([0], np.int32))
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, described)
        tflite.SubGraphAddInputs(builder, first)
        tflite.SubGraphAddOutputs(builder, result)
        tflite.SubGraphAddOperators(builder, operators)
        return int(tflite.SubGraphEnd(builder))

    def _code(self, builder: Any) -> int:
        code = getattr(tflite.BuiltinOperator, self.operator)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(builder, code)
        tflite.OperatorCodeAddVersion(builder, 1)
        return int(tflite.OperatorCodeEnd(builder))

    def _model(self, builder: Any, buffers: list[int], subgraph: int, code: int) -> None:
        subgraphs, codes, data = vector(builder, [subgraph]), vector(builder, [code]), vector(builder, buffers)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddBuffers(builder, data)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")


def vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def conv(*, same: bool, stride: int = 1, dilation: int = 1, activation: int = 0) -> Options:
    return Options(
        "Conv2DOptions",
        Padding=0 if same else 1,
        StrideH=stride,
        StrideW=stride,
        DilationHFactor=dilation,
        DilationWFactor=dilation,
        FusedActivationFunction=activation,
    )


def depthwise(*, same: bool, stride: int = 1, multiplier: int = 1) -> Options:
    return Options(
        "DepthwiseConv2DOptions",
        Padding=0 if same else 1,
        StrideH=stride,
        StrideW=stride,
        DepthMultiplier=multiplier,
        DilationHFactor=1,
        DilationWFactor=1,
    )


PICTURE = floats(1, 8, 6, 4)
CASES: dict[str, tuple[Network, tuple[int, ...]]] = {
    "conv": (Network("CONV_2D", PICTURE, floats(5, 3, 3, 4), floats(5), options=conv(same=False)), (1, 6, 4, 5)),
    "conv same stride": (
        Network("CONV_2D", PICTURE, floats(5, 3, 3, 4), floats(5), options=conv(same=True, stride=2)),
        (1, 4, 3, 5),
    ),
    "conv dilated": (
        Network("CONV_2D", PICTURE, floats(5, 3, 3, 4), floats(5), options=conv(same=True, dilation=2)),
        (1, 8, 6, 5),
    ),
    "conv fused relu": (
        Network("CONV_2D", PICTURE, floats(5, 1, 1, 4), floats(5), options=conv(same=False, activation=1)),
        (1, 8, 6, 5),
    ),
    "depthwise": (
        Network("DEPTHWISE_CONV_2D", PICTURE, floats(1, 3, 3, 4), floats(4), options=depthwise(same=True, stride=2)),
        (1, 4, 3, 4),
    ),
    "depthwise multiplied": (
        Network(
            "DEPTHWISE_CONV_2D", PICTURE, floats(1, 3, 3, 8), floats(8), options=depthwise(same=False, multiplier=2)
        ),
        (1, 6, 4, 8),
    ),
    "add per channel": (Network("ADD", PICTURE, floats(4), options=Options("AddOptions")), (1, 8, 6, 4)),
    "subtract fused relu": (
        Network("SUB", PICTURE, floats(1, 1, 1, 4), options=Options("SubOptions", FusedActivationFunction=1)),
        (1, 8, 6, 4),
    ),
    "multiply by one number": (Network("MUL", PICTURE, floats(), options=Options("MulOptions")), (1, 8, 6, 4)),
    "prelu": (Network("PRELU", PICTURE, floats(1, 1, 4)), (1, 8, 6, 4)),
    "absolute": (Network("ABS", PICTURE), (1, 8, 6, 4)),
    "sigmoid": (Network("LOGISTIC", PICTURE), (1, 8, 6, 4)),
    "reshape": (Network("RESHAPE", PICTURE, np.array([1, 192], np.int32)), (1, 192)),
    "unit length": (Network("L2_NORMALIZATION", floats(1, 192), options=Options("L2NormOptions")), (1, 192)),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_the_same_numbers_in_onnx(name: str, tmp_path: Path) -> None:
    network, shape = CASES[name]
    network.write(tmp_path / "a.tflite", output_shape=shape)
    converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx")
    original, converted = Artifact("litert", tmp_path / "a.tflite"), Artifact("onnxruntime", tmp_path / "a.onnx")
    check_conversion(original, converted, {"x": network.inputs[0]}, tolerance=1e-6)


def test_the_first_axis_takes_any_size_and_items_stay_apart(tmp_path: Path) -> None:
    network, shape = CASES["reshape"]
    network.write(tmp_path / "a.tflite", output_shape=shape)
    converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx")
    batch = floats(3, 8, 6, 4)
    out = Artifact("onnxruntime", tmp_path / "a.onnx").run({"x": batch})["y"]
    np.testing.assert_array_equal(out, batch.reshape(3, 192))


def test_a_fixed_batch_stays_fixed_when_asked(tmp_path: Path) -> None:
    import onnx

    network, shape = CASES["conv"]
    network.write(tmp_path / "a.tflite", output_shape=shape)
    converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx", dynamic_batch=False)
    tensor = onnx.load(tmp_path / "a.onnx").graph.input[0].type.tensor_type
    assert [axis.dim_value for axis in tensor.shape.dim] == [1, 8, 6, 4]


def test_an_operator_that_is_not_known_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    Network("COS", PICTURE).write(tmp_path / "a.tflite", output_shape=(1, 8, 6, 4))
    with pytest.raises(PackageError, match="the operator COS") as caught:
        converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx")
    assert caught.value.facts["operator"] == "COS"
    assert "CONV_2D" in caught.value.hint
    assert not (tmp_path / "a.onnx").exists()


def test_a_quantized_network_is_refused(tmp_path: Path) -> None:
    Network("ABS", np.zeros((1, 4), np.int8)).write(tmp_path / "a.tflite", output_shape=(1, 4))
    with pytest.raises(PackageError, match="not float32"):
        converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx")


@pytest.mark.parametrize("damage", [lambda data: b"PK" + data[2:8] + data, lambda data: data[:200], lambda data: b""])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    network, shape = CASES["conv"]
    network.write(tmp_path / "a.tflite", output_shape=shape)
    (tmp_path / "a.tflite").write_bytes(damage((tmp_path / "a.tflite").read_bytes()))
    with pytest.raises(PackageError):
        converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx")


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_flipped_in_a_file_it_converts_or_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    network, shape = CASES["conv fused relu"]
    network.write(tmp_path / "a.tflite", output_shape=shape)
    content = bytearray((tmp_path / "a.tflite").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.tflite").write_bytes(content)
    with contextlib.suppress(PackageError):
        converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx")


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tflite", None)
    (tmp_path / "a.tflite").write_bytes(b"")
    with pytest.raises(MissingExtraError) as caught:
        converter.convert(tmp_path / "a.tflite", tmp_path / "a.onnx")
    assert caught.value.hint == "pip install 'edgewise[convert]'"
