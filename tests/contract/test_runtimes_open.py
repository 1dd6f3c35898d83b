"""Engines by name: which there are, what is missing, and adding one from outside."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from edgewise.errors import EngineError, MissingExtraError, NotFoundError
from edgewise.runtimes import available, catalog, open_runtime
from edgewise.runtimes.base import Provider
from edgewise.runtimes.providers import start_best
from edgewise.testing.runtimes import RuntimeContract
from edgewise.types import Datatype

OUTSIDE = {
    "echo_engine.py": '''
        """An engine from outside. Its artifacts are text: three lines, the last one a datatype or the word pair."""
        from edgewise.runtimes.artifacts import read_head, refused
        from edgewise.runtimes.base import Provider
        from edgewise.runtimes.providers import start_best
        from edgewise.runtimes.session import GuardedSession
        from edgewise.types import TensorSpec


        class EchoEngine:
            name = "echo-engine"

            def version(self):
                return "2.0"

            def providers(self):
                return (Provider("cpu", "any", available=True),)

            def open(self, artifact, options):
                read_head(artifact, 1)
                try:
                    mark, kind, end = artifact.read_text().splitlines()
                except (UnicodeDecodeError, ValueError) as error:
                    raise refused(artifact, f"is no echo model: {error}") from error
                if (mark, end) != ("echo", "end"):
                    raise refused(artifact, "is no echo model")
                return Session(kind, *start_best(self.providers(), options.provider, lambda _: None))


        class Session(GuardedSession):
            def __init__(self, kind, _, choice):
                if kind == "pair":
                    inputs = [TensorSpec("a", "FP32", (-1, 4)), TensorSpec("b", "FP32", (-1, 4))]
                    outputs = [TensorSpec("total", "FP32", (-1, 4)), TensorSpec("product", "FP32", (-1, 4))]
                else:
                    width = 512 if kind == "heavy" else 3
                    inputs = [TensorSpec("x", "FP32", (-1, width))]
                    outputs = [TensorSpec("y", "FP32", (-1, width))]
                super().__init__(inputs, outputs, choice)

            def _run(self, inputs, wanted):
                if "x" in inputs:
                    return [inputs["x"].copy() for _ in wanted]
                results = {"total": inputs["a"] + inputs["b"], "product": inputs["a"] * inputs["b"]}
                return [results[name] for name in wanted]

            def _free(self):
                pass
    ''',
    "echo_engine-2.0.dist-info/METADATA": """
        Metadata-Version: 2.1
        Name: echo-engine
        Version: 2.0
    """,
    "echo_engine-2.0.dist-info/entry_points.txt": """
        [edgewise.runtimes]
        echo-engine = echo_engine:EchoEngine
        fake = echo_engine:EchoEngine
    """,
}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory):
    """A distribution with an entry point, as pip would leave it in site-packages."""
    folder = tmp_path_factory.mktemp("site-packages")
    for name, text in OUTSIDE.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    sys.path.append(str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("echo_engine", None)


class TestFromOutside(RuntimeContract):
    """The engine of ``docs/extend/runtime.md``, found through its entry point, keeps the contract."""

    location: ClassVar[str] = "echo_engine:EchoEngine"
    most_threads = 1

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        (folder / "pair.echo").write_text("echo\npair\nend\n")
        return folder / "pair.echo"

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        (folder / f"{datatype}.echo").write_text(f"echo\n{datatype}\nend\n")
        return folder / f"{datatype}.echo"

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        return cls.make_echo(folder, "heavy")

    @pytest.fixture
    def runtime(self):
        return open_runtime("echo-engine")


def test_an_engine_from_outside_stands_among_the_others() -> None:
    status = available()["echo-engine"]
    assert (status.installed, status.version, status.hint) == (True, "2.0", "")
    assert status.row.location == "echo_engine:EchoEngine"


def test_a_name_of_the_catalogue_cannot_be_taken_over_from_outside() -> None:
    assert available()["fake"].row == catalog.CATALOG["fake"]
    assert type(open_runtime("fake")).__module__ == "edgewise.runtimes.fake"


@pytest.mark.parametrize("name", list(catalog.CATALOG))
def test_every_row_of_the_catalogue_opens_under_its_name(name: str) -> None:
    assert open_runtime(name).name == name
    assert available()[name].version


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFoundError) as missing:
        open_runtime("onnx-runtime")
    assert "'onnxruntime'" in missing.value.hint
    assert missing.value.facts == {"kind": "runtime", "name": "onnx-runtime"}


def test_a_missing_extra_is_answered_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    row = msgspec.structs.replace(catalog.CATALOG["litert"], module="no_such_module")
    monkeypatch.setitem(catalog.CATALOG, "litert", row)
    assert available()["litert"].installed is False
    assert available()["litert"].version == ""
    with pytest.raises(MissingExtraError) as missing:
        open_runtime("litert")
    assert missing.value.hint == "pip install 'edgewise[litert]'" == available()["litert"].hint


def test_an_engine_that_is_installed_but_does_not_load_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    row = msgspec.structs.replace(catalog.CATALOG["litert"], location="no_such_module:Class")
    monkeypatch.setitem(catalog.CATALOG, "litert", row)
    with pytest.raises(MissingExtraError, match="does not load"):
        open_runtime("litert")


def test_asking_which_engines_there_are_imports_none_of_them() -> None:
    script = (
        "import sys, json; from edgewise.runtimes import available; available(); print(json.dumps(list(sys.modules)))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    heavy = {row.module for row in catalog.CATALOG.values() if row.module} | {"numpy"}
    assert heavy.isdisjoint(loaded)


# Picking a provider

PROVIDERS = (
    Provider("npu", "NPU", available=True),
    Provider("gpu", "GPU", available=False, reason="no driver"),
    Provider("cpu", "CPU", available=True),
)


def failing_on(*names: str):
    def start(name: str) -> str:
        if name in names:
            raise EngineError(f"{name} is broken")
        return f"started on {name}"

    return start


@pytest.mark.parametrize(
    ("wanted", "broken", "expected"),
    [
        ("auto", [], ("npu", "")),
        ("auto", ["npu"], ("cpu", "npu: npu is broken")),
        ("npu", [], ("npu", "")),
        ("gpu", [], ("cpu", "gpu: no driver")),
        ("tpu", [], ("cpu", "tpu: no such provider in this engine")),
        ("cpu", ["npu"], ("cpu", "")),
    ],
)
def test_the_best_provider_is_picked_and_the_fallback_is_told(wanted: str, broken: list[str], expected) -> None:
    started, choice = start_best(PROVIDERS, wanted, failing_on(*broken))
    assert (choice.provider, choice.fallback) == expected
    assert started == f"started on {choice.provider}"


def test_a_provider_that_is_taken_only_by_name_is_not_taken_automatically() -> None:
    assert start_best(PROVIDERS, "auto", failing_on(), not_auto={"npu"})[1].provider == "cpu"
    assert start_best(PROVIDERS, "npu", failing_on(), not_auto={"npu"})[1].provider == "npu"


def test_when_the_cpu_fails_too_the_caller_gets_the_error() -> None:
    with pytest.raises(EngineError, match="cpu is broken"):
        start_best(PROVIDERS, "auto", failing_on("npu", "cpu"))
