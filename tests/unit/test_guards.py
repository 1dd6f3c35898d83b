"""Promises about the package as a whole: cheap to import, everything named exists, every error is mapped."""

import errno
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgewise
from edgewise import errors
from edgewise.api.errors import STATUS
from edgewise.cli import EXIT_CODES, run
from edgewise.models.tasks import catalog as tasks
from edgewise.pipeline import catalog as parts
from edgewise.runtimes import catalog as runtimes

HEAVY = [
    "numpy",
    "cv2",
    "onnxruntime",
    "torch",
    "av",
    "litestar",
    "uvicorn",
    "paho",
    "rich",
    "cyclopts",
    "msgspec",
    "yaml",
]
OPTIONAL = [
    "asyncua",
    "av",
    "deltalake",
    "duckdb",
    "pyarrow",
    "pymodbus",
    "serial",
    "ai_edge_litert",
    "openvino",
    "torch",
    "executorch",
    "onnx",
    "onnxscript",
    "tflite",
    "IPython",
]


def fresh(code: str) -> str:
    """Output of a program in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree(kind: type[errors.EdgewiseError] = errors.EdgewiseError) -> list[type[errors.EdgewiseError]]:
    return [kind, *[found for child in kind.__subclasses__() for found in tree(child)]]


def test_importing_edgewise_loads_nothing_heavy_and_takes_under_60_ms() -> None:
    code = """
import json, sys, time
start = time.process_time()
import edgewise
print(json.dumps({"ms": (time.process_time() - start) * 1000, "modules": list(sys.modules)}))
"""
    runs = [json.loads(fresh(code)) for _ in range(3)]
    assert [name for name in HEAVY if name in runs[0]["modules"]] == []
    assert min(run["ms"] for run in runs) < 60


def test_every_exported_name_is_there() -> None:
    for name in edgewise.__all__:
        assert getattr(edgewise, name) is not None
    assert set(edgewise.__all__) <= set(dir(edgewise))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgewise.nothing


@pytest.mark.parametrize("location", [row.location for row in runtimes.CATALOG.values()])
def test_every_row_of_the_runtime_catalogue_loads(location: str) -> None:
    load(location)


@pytest.mark.parametrize("location", [*tasks.CATALOG.values(), *parts.SOURCES.values(), *parts.TRANSFORMS.values()])
def test_every_row_of_the_task_source_and_transform_catalogues_loads(location: object) -> None:
    load(str(getattr(location, "location", location)))


def load(location: str) -> None:
    module, _, name = location.partition(":")
    assert isinstance(getattr(importlib.import_module(module), name), type)


def test_every_error_has_a_code_of_its_own_an_http_status_and_an_exit_code() -> None:
    codes = [kind.code for kind in tree()]
    assert len(codes) == len(set(codes))
    for kind in tree():
        assert any(ancestor in STATUS for ancestor in kind.__mro__), kind
        assert any(issubclass(kind, mapped) for mapped, _ in EXIT_CODES), kind


def test_the_reference_pages_say_what_the_code_says() -> None:
    script = Path(__file__).parents[2] / "scripts" / "reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_base_install_sees_without_any_extra() -> None:
    answer = fresh(
        f"""
import sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
import edgewise, numpy
model = edgewise.load("cifar10-resnet")
print(model.variant.runtime, len(model.predict(numpy.zeros((32, 32, 3), "uint8")).result.labels))
from edgewise.cli import run
assert run(["doctor"]) == 0
"""
    )
    assert answer.startswith("onnxruntime ")
    assert "pip install 'edgewise[litert]'" in answer


def test_a_defect_is_never_taken_for_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("edgewise.node.doctor.examine", fail)
    assert run(["doctor"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "nobody thought of this" in said
    assert "report it" in said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "here/.tmp-x.zip-1234"), 5, "here: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "here/x"), 7, "(storage_full) here/x: No space left"),
    ],
)
def test_what_the_system_refuses_is_told_in_a_sentence(
    error: OSError, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr("edgewise.node.doctor.examine", fail)
    assert run(["doctor"]) == code
    assert said in capfd.readouterr().err
