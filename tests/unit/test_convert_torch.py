"""PyTorch to ONNX: the same numbers, any batch, no talk; weights are read without running anything."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.convert.check import Artifact, compare
from edgewise.errors import EngineError, MissingExtraError, PackageError

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from edgewise.convert import torch as converter  # noqa: E402  after what it needs is known to be there

X = np.random.default_rng(2).uniform(-1, 1, (2, 3, 8, 8)).astype(np.float32)


def network() -> Any:
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU6(),
        torch.nn.Dropout(0.9),
        torch.nn.Flatten(),
        torch.nn.Linear(256, 5),
    )


def test_a_network_gives_the_same_numbers_in_onnx_for_any_batch(tmp_path: Path) -> None:
    module = network()
    converter.convert(module, {"x": X}, tmp_path / "a.onnx", outputs=["y"])
    batch = np.concatenate([X, -X, X * 0.5])
    expected = converter.run(module, {"x": batch}, outputs=["y"])
    differences = compare(expected, Artifact("onnxruntime", tmp_path / "a.onnx").run({"x": batch}), tolerance=1e-5)
    assert [difference.tensor for difference in differences] == ["y"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_the_user_hears_nothing_of_the_exporter(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        converter.convert(network(), {"x": X}, tmp_path / "a.onnx", outputs=["y"])
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_network_that_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    class Moody(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(EngineError, match="cannot export"):
        converter.convert(Moody(), {"x": X}, tmp_path / "a.onnx", outputs=["y"])
    assert not (tmp_path / "a.onnx").exists()


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    module = network()
    torch.save(module.state_dict(), tmp_path / "a.pth")
    other = network()
    other.load_state_dict(converter.load_weights(tmp_path / "a.pth"))
    assert torch.equal(other[0].weight, module[0].weight)


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_of_weights_is_run(tmp_path: Path) -> None:
    torch.save({"weight": Trap(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(PackageError, match="no file of weights"):
        converter.load_weights(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))
    with pytest.raises(PackageError):
        converter.load_weights(tmp_path / "b.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("saved", [[1, 2], {"a": 1}, "x"])
def test_what_is_no_tensors_by_name_is_refused(tmp_path: Path, saved: object) -> None:
    torch.save(saved, tmp_path / "a.pth")
    with pytest.raises(PackageError, match="something else than tensors"):
        converter.load_weights(tmp_path / "a.pth")


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:3000])
    with pytest.raises(PackageError):
        converter.load_weights(tmp_path / "a.pth")


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError) as caught:
        converter.load_weights(tmp_path / "a.pth")
    assert caught.value.hint == "pip install 'edgewise[torch]'"
