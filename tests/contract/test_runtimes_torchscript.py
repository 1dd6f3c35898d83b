"""TorchScript keeps the runtime contract."""

import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from edgewise.errors import EngineError, PackageError
from edgewise.runtimes import open_runtime
from edgewise.runtimes.artifacts import Signature
from edgewise.runtimes.base import SessionOptions
from edgewise.runtimes.torchscript import save
from edgewise.testing.runtimes import RuntimeContract
from edgewise.types import DATATYPES, Datatype, TensorSpec


class Pair(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, a * b


class Echo(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def heavy() -> torch.nn.Module:
    return torch.nn.Sequential(*(torch.nn.Linear(512, 512, bias=False) for _ in range(8)))


def spec(name: str, shape: tuple[int, ...], datatype: Datatype = "FP32") -> TensorSpec:
    return TensorSpec(name, datatype, shape)


class TestTorchScript(RuntimeContract):
    location = "edgewise.runtimes.torchscript:TorchScript"
    datatypes = tuple(datatype for datatype in DATATYPES if datatype != "BYTES")
    settling_cpu_s = 0.03  # OpenMP's threads wait for more work, but not for ever

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        inputs = (spec("a", (-1, 4)), spec("b", (-1, 4)))
        outputs = (spec("total", (-1, 4)), spec("product", (-1, 4)))
        return cls.write(folder / "pair.pt", Pair(), Signature(inputs, outputs))

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        signature = Signature((spec("x", (-1, 3), datatype),), (spec("y", (-1, 3), datatype),))
        return cls.write(folder / f"echo_{datatype}.pt", Echo(), signature)

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        return cls.write(folder / "heavy.pt", heavy(), Signature((spec("x", (-1, 512)),), (spec("y", (-1, 512)),)))

    @staticmethod
    def write(path: Path, module: torch.nn.Module, signature: Signature) -> Path:
        save(torch.jit.script(module.eval()), path, signature)
        return path


class ReadsAFile(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("/etc/passwd", False, 4, dtype=torch.float32)


class Greedy(torch.nn.Module):
    """Writes to its input and returns its own parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        return self.weight


ONE = Signature((spec("x", (-1, 3)),), (spec("y", (-1, 3)),))


def test_a_model_that_reaches_for_files_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    save(torch.jit.script(ReadsAFile()), tmp_path / "model.pt", ONE)
    with pytest.raises(PackageError, match="files"):
        open_runtime("torchscript").open(tmp_path / "model.pt", SessionOptions())


@pytest.mark.parametrize("call", ["torch . from_file (", "(torch.  # x\n  from_file)(", "ops . aten.from_file("])
def test_no_spelling_of_the_call_hides_it(tmp_path: Path, call: str) -> None:
    save(torch.jit.script(ReadsAFile()), tmp_path / "plain.pt", ONE)
    hidden = tmp_path / "hidden.pt"
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(hidden, "w") as target:
        for entry in plain.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, plain.read(entry).replace(b"torch.from_file(", call.encode()))
    with pytest.raises(PackageError, match="files"):
        open_runtime("torchscript").open(hidden, SessionOptions())


def test_a_model_without_a_signature_is_refused_with_the_way_to_write_one(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Echo()), str(tmp_path / "model.pt"))
    with pytest.raises(PackageError, match=r"edgewise\.runtimes\.torchscript\.save"):
        open_runtime("torchscript").open(tmp_path / "model.pt", SessionOptions())


def test_pickled_weights_are_not_a_model(tmp_path: Path) -> None:
    torch.save(heavy().state_dict(), tmp_path / "model.pt")
    with pytest.raises(PackageError):
        open_runtime("torchscript").open(tmp_path / "model.pt", SessionOptions())


def test_a_model_that_writes_to_what_it_is_given_changes_neither_the_input_nor_itself(tmp_path: Path) -> None:
    save(torch.jit.script(Greedy()), tmp_path / "model.pt", ONE)
    session = open_runtime("torchscript").open(tmp_path / "model.pt", SessionOptions())
    x = np.ones((1, 3), np.float32)
    result = session.infer({"x": x})["y"]
    assert x.tolist() == [[1, 1, 1]]
    result[:] = 7
    assert session.infer({"x": x})["y"].tolist() == [[1, 1, 1]]


def test_a_model_that_gives_fewer_tensors_than_it_says_fails_in_the_engine(tmp_path: Path) -> None:
    two = Signature(ONE.inputs, (spec("y", (-1, 3)), spec("z", (-1, 3))))
    save(torch.jit.script(Echo()), tmp_path / "model.pt", two)
    session = open_runtime("torchscript").open(tmp_path / "model.pt", SessionOptions())
    with pytest.raises(EngineError, match="no tensor for z"):
        session.infer({"x": np.ones((1, 3), np.float32)})


def test_the_threads_of_the_process_are_left_as_they_were(tmp_path: Path) -> None:
    """Neither the caller nor a thread started later computes with the session's number of threads."""
    before = torch.get_num_threads()
    session = open_runtime("torchscript").open(TestTorchScript.make_heavy(tmp_path), SessionOptions(threads=before + 1))
    session.infer({"x": np.ones((1, 512), np.float32)})
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert [torch.get_num_threads(), *seen] == [before, before]
