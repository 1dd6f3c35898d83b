"""The fake keeps the runtime contract, so that a test that runs on it says something about the others."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewise.errors import EngineError, PackageError
from edgewise.runtimes import open_runtime
from edgewise.runtimes.base import SessionOptions
from edgewise.runtimes.fake import FakeModel
from edgewise.testing.runtimes import RuntimeContract
from edgewise.types import DATATYPES, Datatype, TensorSpec


def write(path: Path, inputs, outputs, **rest) -> Path:
    path.write_bytes(msgspec.json.encode(FakeModel(tuple(inputs), tuple(outputs), **rest)))
    return path


def spec(name: str, shape: tuple[int, ...], datatype: Datatype = "FP32") -> TensorSpec:
    return TensorSpec(name, datatype, shape)


class TestFake(RuntimeContract):
    location = "edgewise.runtimes.fake:FakeRuntime"
    datatypes = tuple(DATATYPES)
    most_threads = 1

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        inputs = [spec("a", (-1, 4)), spec("b", (-1, 4))]
        return write(folder / "pair.json", inputs, [spec("total", (-1, 4)), spec("product", (-1, 4))])

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        return write(folder / f"echo_{datatype}.json", [spec("x", (-1, 3), datatype)], [spec("y", (-1, 3), datatype)])

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        return write(folder / "heavy.json", [spec("x", (-1, 512))], [spec("y", (-1, 512))])

    def expected(self, a, b):
        return {"total": a, "product": b}


def test_it_fails_when_told_to(tmp_path: Path) -> None:
    artifact = write(tmp_path / "m.json", [spec("x", (1,))], [spec("y", (1,))], behaviour="fail")
    with pytest.raises(EngineError):
        open_runtime("fake").open(artifact, SessionOptions()).infer({"x": np.ones(1, np.float32)})


def test_a_constant_takes_its_open_sizes_from_the_input(tmp_path: Path) -> None:
    outputs = [spec("score", (-1, 2)), spec("count", (1,), "INT64")]
    artifact = write(tmp_path / "m.json", [spec("x", (-1, 3))], outputs, behaviour="constant", value=0.5)
    results = open_runtime("fake").open(artifact, SessionOptions()).infer({"x": np.ones((4, 3), np.float32)})
    assert results["score"].tolist() == [[0.5, 0.5]] * 4
    assert results["count"].tolist() == [0]


def test_sleeping_takes_its_time_and_then_echoes(tmp_path: Path) -> None:
    artifact = write(tmp_path / "m.json", [spec("x", (1,))], [spec("y", (1,))], behaviour="sleep", seconds=0.001)
    session = open_runtime("fake").open(artifact, SessionOptions())
    assert session.infer({"x": np.ones(1, np.float32)})["y"].tolist() == [1]


def test_an_echo_whose_outputs_differ_from_its_inputs_is_refused(tmp_path: Path) -> None:
    artifact = write(tmp_path / "m.json", [spec("x", (1,))], [spec("y", (2,))])
    with pytest.raises(PackageError, match="differ"):
        open_runtime("fake").open(artifact, SessionOptions())
