"""ExecuTorch keeps the runtime contract."""

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


def lower(module: torch.nn.Module, example, path: Path, signature: Signature | None = None) -> Path:
    """Exports with an open batch; the exporter's own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        exported = torch.export.export(module.eval(), example, dynamic_shapes=tuple({0: BATCH} for _ in example))
        methods = {SIGNATURE_METHOD: msgspec.json.encode(signature).decode()} if signature else None
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()], constant_methods=methods)
        path.write_bytes(edge.to_executorch().buffer)
    return path


def spec(name: str, shape: tuple[int, ...], datatype: Datatype = "FP32") -> TensorSpec:
    return TensorSpec(name, datatype, shape)


class TestExecuTorch(RuntimeContract):
    location = "edgewise.runtimes.executorch:ExecuTorch"
    datatypes = ("BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
    damages = 3  # each is tried in a process of its own

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        inputs = (spec("a", (-1, 4)), spec("b", (-1, 4)))
        outputs = (spec("total", (-1, 4)), spec("product", (-1, 4)))
        example = (torch.ones(2, 4), torch.ones(2, 4))
        return lower(Pair(), example, folder / "pair.pte", Signature(inputs, outputs))

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        signature = Signature((spec("x", (-1, 3), datatype),), (spec("y", (-1, 3), datatype),))
        example = (torch.ones(2, 3, dtype=getattr(torch, DATATYPES[datatype])),)
        return lower(Echo(), example, folder / f"echo_{datatype}.pte", signature)

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        signature = Signature((spec("x", (-1, 512)),), (spec("y", (-1, 512)),))
        return lower(heavy(), (torch.ones(2, 512),), folder / "heavy.pte", signature)


def test_a_program_without_a_signature_has_numbered_tensors_of_the_largest_shape(tmp_path: Path) -> None:
    artifact = lower(Pair(), (torch.ones(2, 4), torch.ones(2, 4)), tmp_path / "plain.pte")
    session = open_runtime("executorch").open(artifact, SessionOptions(trusted=True))
    assert session.inputs == (spec("input_0", (256, 4)), spec("input_1", (256, 4)))
    assert session.outputs == (spec("output_0", (256, 4)), spec("output_1", (256, 4)))
    session.close()


def test_a_signature_that_contradicts_the_program_is_refused(tmp_path: Path) -> None:
    wrong = Signature((spec("a", (-1, 5)), spec("b", (-1, 4))), (spec("total", (-1, 4)), spec("product", (-1, 4))))
    artifact = lower(Pair(), (torch.ones(2, 4), torch.ones(2, 4)), tmp_path / "wrong.pte", wrong)
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
