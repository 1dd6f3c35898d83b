"""OpenVINO keeps the runtime contract."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgewise.errors import EngineError, PackageError
from edgewise.runtimes import open_runtime
from edgewise.runtimes.base import SessionOptions
from edgewise.runtimes.openvino import ov
from edgewise.testing.runtimes import RuntimeContract
from edgewise.types import DATATYPES, Datatype

ops = ov.opset13


def write(path: Path, inputs, outputs) -> Path:
    results = []
    for name, node in outputs.items():
        result = ops.result(node)
        result.output(0).get_tensor().set_names({name})
        results.append(result)
    ov.save_model(ov.Model(results, inputs, "test"), path, compress_to_fp16=False)
    return path


def parameter(name: str, shape, dtype=np.float32):
    node = ops.parameter(shape, dtype, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


class TestOpenVINO(RuntimeContract):
    location = "edgewise.runtimes.openvino:OpenVINO"
    datatypes = tuple(datatype for datatype in DATATYPES if datatype not in {"BYTES", "FP64"})
    limits: ClassVar = {"INT64": (-(2**31), 2**31 - 1), "UINT64": (0, 2**31 - 1), "UINT32": (0, 2**31 - 1)}

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        a, b = parameter("a", [-1, 4]), parameter("b", [-1, 4])
        return write(folder / "pair.xml", [a, b], {"total": ops.add(a, b), "product": ops.multiply(a, b)})

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        x = parameter("x", [-1, 3], np.dtype(DATATYPES[datatype]))
        shape = ops.constant(np.array([-1, 3]))
        return write(folder / f"echo_{datatype}.xml", [x], {"y": ops.reshape(x, shape, special_zero=False)})

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        weights = np.random.default_rng(0).normal(0, 0.04, (8, 512, 512)).astype(np.float32)
        last = x = parameter("x", [-1, 512])
        for weight in weights:
            last = ops.matmul(last, ops.constant(weight), transpose_a=False, transpose_b=False)
        return write(folder / "heavy.xml", [x], {"y": last})


def test_a_double_precision_model_is_refused_unless_the_engine_may_choose(tmp_path: Path) -> None:
    artifact = TestOpenVINO.make_echo(tmp_path, "FP64")
    with pytest.raises(EngineError, match="FP64 in FP32"):
        open_runtime("openvino").open(artifact, SessionOptions())
    session = open_runtime("openvino").open(artifact, SessionOptions(precision="auto"))
    assert session.infer({"x": np.full((1, 3), 0.5)})["y"].tolist() == [[0.5, 0.5, 0.5]]


def test_single_precision_is_kept_where_the_cpu_could_do_bfloat16(tmp_path: Path) -> None:
    session = open_runtime("openvino").open(TestOpenVINO.make_heavy(tmp_path), SessionOptions())
    x = np.random.default_rng(1).normal(size=(64, 512)).astype(np.float32)
    exact = x.astype(np.float64)
    for weight in np.random.default_rng(0).normal(0, 0.04, (8, 512, 512)).astype(np.float32):
        exact = exact @ weight
    assert np.abs(session.infer({"x": x})["y"] - exact).max() / np.abs(exact).max() < 1e-5


def test_a_model_of_another_format_is_not_tried(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(b"node { name: 'x' }")
    with pytest.raises(PackageError, match="not XML"):
        open_runtime("openvino").open(tmp_path / "model.xml", SessionOptions())


def test_weights_that_are_missing_or_short_are_refused(tmp_path: Path) -> None:
    artifact = TestOpenVINO.make_heavy(tmp_path)
    weights = artifact.with_suffix(".bin")
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(PackageError):
        open_runtime("openvino").open(artifact, SessionOptions())
    weights.unlink()
    with pytest.raises(PackageError):
        open_runtime("openvino").open(artifact, SessionOptions())


def test_its_telemetry_stays_off_and_unharmed_for_others() -> None:
    script = """
import sys
from edgewise.runtimes import open_runtime
open_runtime("openvino")
import openvino.tools.ovc as tools
print(type(tools.telemetry).__module__)
import openvino_telemetry
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
