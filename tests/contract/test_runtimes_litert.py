"""LiteRT keeps the runtime contract. The artifacts are written with the schema that comes with LiteRT."""

import random
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgewise.errors import PackageError
from edgewise.runtimes import open_runtime
from edgewise.runtimes.base import SessionOptions
from edgewise.testing.runtimes import RuntimeContract
from edgewise.types import Datatype

TYPES = {
    "BOOL": schema.TensorType.BOOL,
    "UINT8": schema.TensorType.UINT8,
    "INT8": schema.TensorType.INT8,
    "INT16": schema.TensorType.INT16,
    "INT32": schema.TensorType.INT32,
    "INT64": schema.TensorType.INT64,
    "FP32": schema.TensorType.FLOAT32,
}


class Graph:
    """Collects tensors and operators, then writes a ``.tflite`` file."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.name = [], [], "main"
        self.buffers, self.codes = [schema.BufferT()], []

    def tensor(self, name, shape, *, datatype="FP32", content=None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type = name, TYPES[datatype]
        tensor.shape = [max(1, size) for size in shape]
        tensor.shapeSignature = list(shape) if -1 in shape else None
        tensor.buffer = 0
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, builtin, inputs, outputs, options=None) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
        self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(operator)

    def write(self, path: Path, inputs, outputs) -> Path:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.description = 3, "test"
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [self.graph], self.buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())
        return path


class TestLiteRT(RuntimeContract):
    location = "edgewise.runtimes.litert:LiteRT"
    datatypes = tuple(TYPES)
    damages = 8  # each is tried in a process of its own

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        graph = Graph()
        a, b = graph.tensor("a", [-1, 4]), graph.tensor("b", [-1, 4])
        total, product = graph.tensor("total", [-1, 4]), graph.tensor("product", [-1, 4])
        graph.operator(schema.BuiltinOperator.ADD, [a, b], [total], schema.AddOptionsT())
        graph.operator(schema.BuiltinOperator.MUL, [a, b], [product], schema.MulOptionsT())
        return graph.write(folder / "pair.tflite", [a, b], [total, product])

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        graph = Graph()
        x, y = graph.tensor("x", [-1, 3], datatype=datatype), graph.tensor("y", [-1, 3], datatype=datatype)
        shape = graph.tensor("shape", [2], datatype="INT32", content=np.array([-1, 3], np.int32))
        graph.operator(schema.BuiltinOperator.RESHAPE, [x, shape], [y], schema.ReshapeOptionsT())
        return graph.write(folder / f"echo_{datatype}.tflite", [x], [y])

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        graph = Graph()
        weights = np.random.default_rng(0).normal(0, 0.04, (8, 512, 512)).astype(np.float32)
        last = x = graph.tensor("x", [-1, 512])
        for i in range(8):
            weight = graph.tensor(f"w{i}", [512, 512], content=weights[i])
            following = graph.tensor("y" if i == 7 else f"h{i}", [-1, 512])
            graph.operator(
                schema.BuiltinOperator.FULLY_CONNECTED,
                [last, weight, -1],
                [following],
                schema.FullyConnectedOptionsT(),
            )
            last = following
        return graph.write(folder / "heavy.tflite", [x], [last])


def test_an_artifact_that_crashes_the_engine_is_refused(tmp_path: Path) -> None:
    """Found by changing bytes at random; without the trial run this ends the process with SIGSEGV."""
    content = bytearray(TestLiteRT.make_echo(tmp_path, "INT32").read_bytes())
    chance = random.Random(408)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(content))
        content[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    artifact = tmp_path / "crashes.tflite"
    artifact.write_bytes(content)
    with pytest.raises(PackageError, match=r"crashes its engine \(exit status -11\)"):
        open_runtime("litert").open(artifact, SessionOptions())
