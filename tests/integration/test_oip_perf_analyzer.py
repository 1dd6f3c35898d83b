"""Triton's perf_analyzer, the unmodified binary, against a node as a person runs it.

By default it fills tensors with random bytes, and among 1000 random floats there are always some NaN, which a node
refuses. So it is given what it can be given too: zeros, or a file of real values.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from edgewise import zoo
from edgewise.testing.node import RunningNode
from edgewise.testing.packages import write_echo
from edgewise.zoo.catalog import File
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.sources import Sources

pytestmark = [
    pytest.mark.zoo,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="perf_analyzer is published for x86-64 only"),
]

# The last one that both runs with glibc 2.36 and comes with its wheel.
CLIENT = Origin(
    "pypi",
    "tritonclient==2.45.0",
    member="tritonclient-2.45.0.data/data/bin/perf_analyzer",
    sha256="28b2d550bf5445ccd3f457bbcabf890db1d271924957d4d26abd431f94b078c1",
)
CUDA = Origin(
    "pypi",
    "nvidia-cuda-runtime-cu12==12.4.127",
    member="nvidia/cuda_runtime/lib/libcudart.so.12",
    sha256="64403288fa2136ee8e467cdc9c9427e0434110899d07c779f25b5c068934faa5",
)
BASE64 = Origin(
    "debian",
    "libb64-0d=1.2-5+b1",
    member="usr/lib/x86_64-linux-gnu/libb64.so.0d",
    sha256="b0e1d6fde8bdccc18c3884144aede064dc82464dd4777275fa80e74c05583e82",
)
PIECES = (
    File("perf_analyzer", "d442680a17d594ac5acb059e0a0da2ba7c2537d66936ed829154be1355474742", (CLIENT,)),
    File("libcudart.so.12", "8774224f5b11a73b15d074a3fcce7327322c5c4cfdfd924d6a826779eec968fe", (CUDA,)),
    File("libb64.so.0d", "9d910643a635b0b534228f1437af9787d8386cf7b955639019ce6f65422b8f37", (BASE64,)),
)
FORMATS = ("binary", "json")
REQUESTS = 20
PATIENCE_S = 60.0

SETTINGS = """
http: {port: 0}
models: [./models/echo, cifar10-resnet]
"""


@pytest.fixture(scope="session")
def perf_analyzer() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the binary; it and its two libraries are fetched once and kept in between runs."""
    if not shutil.which("apt-get"):
        pytest.skip("one of its libraries is in a Debian package")
    folder = Path(__file__).parents[2] / ".cache" / "perf_analyzer"
    store, program = folder / "fetched", folder / "bin"
    for needed in (store, program):
        needed.mkdir(parents=True, exist_ok=True)
    for piece in PIECES:
        link = program / piece.name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(Sources(store).obtain(piece), program))
    (program / "perf_analyzer").chmod(0o755)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        # Three windows of REQUESTS or more; how alike they are is not what is asked here.
        measured = [
            "--measurement-mode=count_windows",
            f"--measurement-request-count={REQUESTS}",
            "-s",
            "999",
            "-r",
            "3",
        ]
        return subprocess.run(
            [str(program / "perf_analyzer"), *arguments, *measured],
            env={**os.environ, "LD_LIBRARY_PATH": str(program)},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    return run


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    folder = tmp_path_factory.mktemp("node")
    write_echo(folder / "models")
    (folder / "edgewise.yaml").write_text(SETTINGS)
    with RunningNode(folder) as node:
        yield node


@pytest.fixture
def profile(
    perf_analyzer: Callable[..., subprocess.CompletedProcess[str]], node: RunningNode, tmp_path: Path
) -> Callable[..., float]:
    """Measures a model; returns inferences per second."""

    def measure(model: str, *arguments: str, tensors: str) -> float:
        report = tmp_path / "report.csv"
        formats = [f"--input-tensor-format={tensors}", f"--output-tensor-format={tensors}"]
        done = perf_analyzer(
            *("-m", model, "-u", node.address.removeprefix("http://"), "-f", str(report)), *formats, *arguments
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # A model's figures stand under its version and, where that is no whole number, under the number it reads.
        assert [line for line in done.stderr.splitlines() if "Multiple versions" not in line] == []
        with report.open(newline="") as file:
            (row,) = csv.DictReader(file)
        return float(row["Inferences/Second"])

    return measure


@pytest.mark.parametrize("tensors", FORMATS)
def test_a_tensor_is_echoed(profile: Callable[..., float], node: RunningNode, tensors: str) -> None:
    before = counted(node, "echo")
    assert profile("echo", "--shape=x:1000", "--input-data=zero", tensors=tensors) > 0
    answered, failed = (after - was for after, was in zip(counted(node, "echo"), before, strict=True))
    assert answered >= REQUESTS
    assert failed == 0


@pytest.mark.parametrize(("tensors", "version"), [("binary", []), ("json", ["-x", "1.0.0"])])
def test_a_real_picture_is_classified_by_several_clients_at_once(
    profile: Callable[..., float], node: RunningNode, tmp_path: Path, tensors: str, version: list[str]
) -> None:
    model = "cifar10-resnet"
    picture = tmp_path / "picture.json"
    with np.load(package(model) / "golden" / "case.npz") as golden:
        picture.write_text(json.dumps({"data": [{"image": golden["input.image"].ravel().tolist()}]}))
    before = counted(node, model)
    assert profile(model, "--concurrency-range=2", f"--input-data={picture}", *version, tensors=tensors) > 0
    answered, failed = (after - was for after, was in zip(counted(node, model), before, strict=True))
    assert answered >= REQUESTS
    assert failed == 0


def test_its_random_bytes_are_refused_where_they_are_no_numbers(
    perf_analyzer: Callable[..., subprocess.CompletedProcess[str]], node: RunningNode
) -> None:
    done = perf_analyzer("-m", "echo", "-u", node.address.removeprefix("http://"), "--shape=x:1000")
    assert done.returncode != 0
    assert "Input 'x' holds NaN or infinite values" in done.stderr


def counted(node: RunningNode, model: str) -> tuple[int, int]:
    """Requests that the node has answered and refused, by its own count."""
    answer = httpx.get(f"{node.address}/v2/models/{model}/stats", timeout=PATIENCE_S).raise_for_status()
    figures = answer.json()["model_stats"][0]["inference_stats"]
    return figures["success"]["count"], figures["fail"]["count"]


def package(name: str) -> Path:
    """The folder of a model that is shipped."""
    path = zoo.find(name, Path())
    assert path is not None
    return path
