"""ONNX Runtime keeps the runtime contract; what only it promises follows."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgewise.errors import EngineError, PackageError
from edgewise.runtimes import onnxruntime, open_runtime
from edgewise.runtimes.base import SessionOptions
from edgewise.testing.runtimes import RuntimeContract
from edgewise.types import DATATYPES, Datatype

ELEMENTS = {
    **{datatype: helper.np_dtype_to_tensor_dtype(np.dtype(name)) for datatype, name in DATATYPES.items()},
    "BYTES": TensorProto.STRING,
}


def write(path: Path, nodes, inputs, outputs, weights=()) -> Path:
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(weights))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def tensor(name: str, shape, element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


class TestOnnxRuntime(RuntimeContract):
    location = "edgewise.runtimes.onnxruntime:OnnxRuntime"
    datatypes = tuple(DATATYPES)

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        return write(
            folder / "pair.onnx",
            [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Mul", ["a", "b"], ["product"])],
            [tensor("a", ["n", 4]), tensor("b", ["n", 4])],
            [tensor("total", ["n", 4]), tensor("product", ["n", 4])],
        )

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        element = ELEMENTS[datatype]
        return write(
            folder / f"echo_{datatype}.onnx",
            [helper.make_node("Identity", ["x"], ["y"])],
            [tensor("x", ["n", 3], element)],
            [tensor("y", ["n", 3], element)],
        )

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        names = ["x", *(f"h{i}" for i in range(7)), "y"]
        weights = np.random.default_rng(0).normal(0, 0.04, (8, 512, 512)).astype(np.float32)
        return write(
            folder / "heavy.onnx",
            [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(8)],
            [tensor("x", ["n", 512])],
            [tensor("y", ["n", 512])],
            [onnx.numpy_helper.from_array(weights[i], f"w{i}") for i in range(8)],
        )


def with_external_weights(folder: Path, location: str) -> Path:
    """A model whose weights lie, it says, in another file."""
    weight = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 3], data_location=1)
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "test",
        [tensor("x", ["n", 3])],
        [tensor("y", ["n", 3])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "external.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    session = open_runtime("onnxruntime").open(with_external_weights(tmp_path, "weights.bin"), SessionOptions())
    assert session.infer({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("location", ["../secret.bin", "{outside}/secret.bin", "link.bin", "a/../../secret.bin"])
def test_weights_outside_the_folder_of_the_model_are_not_read(tmp_path: Path, location: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.eye(3, dtype=np.float32).tobytes())
    folder = tmp_path / "package"
    (folder / "a").mkdir(parents=True)
    (folder / "link.bin").symlink_to(secret)
    artifact = with_external_weights(folder, location.format(outside=tmp_path))
    with pytest.raises(PackageError, match="External data"):
        open_runtime("onnxruntime").open(artifact, SessionOptions())


def test_a_model_that_gives_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    artifact = write(
        tmp_path / "sequence.onnx",
        [helper.make_node("SequenceConstruct", ["x"], ["y"])],
        [tensor("x", [1])],
        [sequence],
    )
    with pytest.raises(EngineError, match="seq"):
        open_runtime("onnxruntime").open(artifact, SessionOptions())


def test_sizes_that_contradict_each_other_fail_in_the_engine_and_the_session_lives_on(tmp_path: Path) -> None:
    session = open_runtime("onnxruntime").open(TestOnnxRuntime.make_pair(tmp_path), SessionOptions())
    two, three = np.ones((2, 4), np.float32), np.ones((3, 4), np.float32)
    with pytest.raises(EngineError):
        session.infer({"a": two, "b": three})
    assert session.infer({"a": two, "b": two})["total"].tolist() == [[2] * 4] * 2


def test_what_the_engine_says_does_not_show_where_the_artifact_lies(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a model at all")
    with pytest.raises(PackageError) as refused:
        open_runtime("onnxruntime").open(tmp_path / "broken.onnx", SessionOptions())
    assert str(tmp_path) not in refused.value.message
    assert refused.value.facts["file"] == "broken.onnx"


def test_hardware_that_fails_with_what_a_broken_model_fails_with_is_fallen_back_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graphics card without memory raises ``Fail``, as a model does that is none; the CPU then tells which it was."""
    start = onnxruntime.ort.InferenceSession

    def without_memory(path: str, settings: object, *, providers: list[str], **rest: object) -> object:
        if providers == ["CUDAExecutionProvider"]:
            raise onnxruntime.native.Fail("CUDA failure 2: out of memory")
        return start(path, settings, providers=providers, **rest)

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime.ort, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime.ort, "InferenceSession", without_memory)
    session = open_runtime("onnxruntime").open(TestOnnxRuntime.make_pair(tmp_path), SessionOptions())
    assert session.provider == "cpu"
    assert "out of memory" in session.fallback
    (tmp_path / "broken.onnx").write_bytes(b"not a model at all")
    with pytest.raises(PackageError):
        open_runtime("onnxruntime").open(tmp_path / "broken.onnx", SessionOptions())
