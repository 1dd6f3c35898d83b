"""ExecuTorch keeps the runtime contract."""

import functools
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from edgewise.errors import EngineError, PackageError, TensorError
from edgewise.runtimes import open_runtime
from edgewise.runtimes.artifacts import Signature
from edgewise.runtimes.base import SessionOptions
from edgewise.runtimes.executorch import SIGNATURE_METHOD
from edgewise.testing.runtimes import RuntimeContract
from edgewise.types import DATATYPES, Datatype, TensorSpec

BATCH = torch.export.Dim("batch", min=1, max=256)


class Pair(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, a * b


class Echo(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


def heavy() -> torch.nn.Module:
    return torch.nn.Sequential(*(torch.nn.Linear(512, 512, bias=False) for _ in range(8)))


MODULES = {"pair": Pair, "echo": Echo, "heavy": heavy}


@functools.cache
def program(kind: str, signature: Signature | None, example: tuple[TensorSpec, ...]) -> bytes:
    """Exports with an open batch; the exporter's own warnings are not ours."""
    tensors = tuple(torch.ones(2, spec.shape[1], dtype=getattr(torch, DATATYPES[spec.datatype])) for spec in example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        batch = tuple({0: BATCH} for _ in tensors)
        exported = torch.export.export(MODULES[kind]().eval(), tensors, dynamic_shapes=batch)
        methods = {SIGNATURE_METHOD: msgspec.json.encode(signature).decode()} if signature else None
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()], constant_methods=methods)
        return edge.to_executorch().buffer


def write(path: Path, kind: str, signature: Signature | None, example: tuple[TensorSpec, ...]) -> Path:
    path.write_bytes(program(kind, signature, example))
    return path


def spec(name: str, shape: tuple[int, ...], datatype: Datatype = "FP32") -> TensorSpec:
    return TensorSpec(name, datatype, shape)


TWO = (spec("a", (-1, 4)), spec("b", (-1, 4)))


class TestExecuTorch(RuntimeContract):
    location = "edgewise.runtimes.executorch:ExecuTorch"
    datatypes = ("BOOL", "UINT8", "INT64", "FP16", "FP32")  # a second of exporting each
    damages = 3  # each is tried in a process of its own

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        outputs = (spec("total", (-1, 4)), spec("product", (-1, 4)))
        return write(folder / "pair.pte", "pair", Signature(TWO, outputs), TWO)

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        inputs, outputs = (spec("x", (-1, 3), datatype),), (spec("y", (-1, 3), datatype),)
        return write(folder / f"echo_{datatype}.pte", "echo", Signature(inputs, outputs), inputs)

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        inputs = (spec("x", (-1, 512)),)
        return write(folder / "heavy.pte", "heavy", Signature(inputs, (spec("y", (-1, 512)),)), inputs)


def test_a_program_without_a_signature_has_numbered_tensors_of_the_largest_shape(tmp_path: Path) -> None:
    artifact = write(tmp_path / "plain.pte", "pair", None, TWO)
    session = open_runtime("executorch").open(artifact, SessionOptions(trusted=True))
    assert session.inputs == (spec("input_0", (256, 4)), spec("input_1", (256, 4)))
    assert session.outputs == (spec("output_0", (256, 4)), spec("output_1", (256, 4)))
    session.close()


def test_a_signature_that_contradicts_the_program_is_refused(tmp_path: Path) -> None:
    wrong = Signature((spec("a", (-1, 5)), spec("b", (-1, 4))), (spec("total", (-1, 4)), spec("product", (-1, 4))))
    artifact = write(tmp_path / "wrong.pte", "pair", wrong, TWO)
    with pytest.raises(PackageError, match="contradicts"):
        open_runtime("executorch").open(artifact, SessionOptions(trusted=True))


def test_all_open_sessions_share_one_number_of_threads(tmp_path: Path) -> None:
    runtime, artifact = open_runtime("executorch"), TestExecuTorch.make_pair(tmp_path)
    first = runtime.open(artifact, SessionOptions(trusted=True))
    with pytest.raises(EngineError, match="one pool of threads") as refused:
        runtime.open(artifact, SessionOptions(threads=2, trusted=True))
    assert refused.value.facts == {"threads": 1}
    first.close()
    second = runtime.open(artifact, SessionOptions(threads=2, trusted=True))
    a = np.ones((3, 4), np.float32)
    assert second.infer({"a": a, "b": a})["total"].tolist() == [[2] * 4] * 3
    second.close()


def test_a_batch_beyond_the_bound_it_was_exported_with_fails_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    session = open_runtime("executorch").open(TestExecuTorch.make_pair(tmp_path), SessionOptions(trusted=True))
    many, none = np.ones((257, 4), np.float32), np.ones((0, 4), np.float32)
    with pytest.raises(EngineError):
        session.infer({"a": many, "b": many})
    with pytest.raises(TensorError, match="empty"):
        session.infer({"a": none, "b": none})
    session.close()
