"""The command line as a person lives with it: right and wrong words, typed into a shell of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.media.images import read

ROOT = Path(__file__).parents[2]
CAT = ROOT / "docs" / "images" / "cat.jpg"
ASTRONAUT = ROOT / "docs" / "images" / "astronaut.jpg"
EXAMPLE = ROOT / "examples" / "smart-home" / "edgewise.yaml"
TIMEOUT_S = 60


class Shell:
    """A terminal in a folder. ``type`` runs one command and returns what it printed, once its exit code was right."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "EDGEWISE_CACHE": str(cache), "COLUMNS": "200", "NO_COLOR": "1"}
        self.said = ""

    def type(self, *words: str | Path, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edgewise", *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        self.said = done.stderr
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def json(self, *words: str | Path, code: int = 0) -> Any:
        return json.loads(self.type(*words, "--json", code=code))

    def lines(self, *words: str | Path, code: int = 0) -> list[Any]:
        return [json.loads(line) for line in self.type(*words, "--json", code=code).splitlines()]


@pytest.fixture
def shell(tmp_path: Path, zoo_cache: Path) -> Shell:
    return Shell(tmp_path, zoo_cache)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A small classifier of one's own: the average colour of a picture, twice."""
    weights = numpy_helper.from_array(np.eye(3, 4, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["scores"]),
        ],
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 4])],
        [weights],
    )
    path = tmp_path / "mine.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def names(predictions: Sequence[Any]) -> list[str]:
    return [Path(prediction["file"]).name for prediction in predictions]


def test_what_can_be_pulled_is_listed_and_a_mistyped_name_is_put_right(shell: Shell) -> None:
    listed = {entry["name"]: entry for entry in shell.json("pull", "--list")}
    assert {"cifar10-resnet", "watch-activity", "yunet", "mobilefacenet", "nanodet"} <= set(listed)
    assert listed["cifar10-resnet"]["shipped"]
    assert shell.json("pull", "cifar10-resnet")[0]["name"] == "cifar10-resnet"
    shell.type("pull", "yunett", code=6)
    assert "Did you mean 'yunet'?" in shell.said


def test_a_folder_of_pictures_is_predicted_with_a_broken_one_in_it(shell: Shell) -> None:
    album = shell.folder / "album"
    for name in ("first", "second"):
        (album / name).mkdir(parents=True)
        shutil.copy(CAT, album / name / "x.jpg")
    (album / "broken.jpg").write_bytes(CAT.read_bytes()[:3000])
    (album / "notes.txt").write_text("no picture")

    done = shell.lines("predict", "cifar10-resnet", "album", code=1)
    assert names(done) == ["broken.jpg", "x.jpg", "x.jpg"]
    assert done[0]["error"]["code"] == "undecodable"
    assert done[1]["result"]["labels"][0]["name"] == "cat"

    found = shell.type("predict", "cifar10-resnet", "album/*/*.jpg", "--save", "drawn")
    assert found.count("cat") == 2
    drawn = sorted(path.relative_to(shell.folder / "drawn") for path in (shell.folder / "drawn").rglob("*.png"))
    assert drawn == [Path("first/x.png"), Path("second/x.png")]
    assert read(shell.folder / "drawn" / drawn[0]).shape == read(CAT).shape


def test_names_of_files_are_shown_as_they_are(shell: Shell) -> None:
    odd = shell.folder / "odd[" / "bold] [red].jpg"
    odd.parent.mkdir()
    shutil.copy(CAT, odd)
    closing = shell.folder / "a[" / "b].jpg"
    closing.parent.mkdir()
    closing.write_text("no picture")
    said = shell.type("predict", "cifar10-resnet", "odd[/bold] [red].jpg", "a[/b].jpg", code=1)
    assert "odd[/bold] [red].jpg" in said
    assert "a[/b].jpg: These bytes are no picture" in shell.said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["predict", "cifar10-resnet"], 2, "INPUTS"),
        (["predict", "cifar10-resnet", "CAT", "--top", "0"], 2, "--top"),
        (["predict", "cifar10-resnet", "nothing.jpg"], 6, "nothing.jpg"),
        (["predict", "cifar10-resnet", "**.jpg"], 6, "**.jpg"),
        (["predict", "cifar10-resnet", "CAT", "--save", "taken/x"], 5, "taken"),
        (["predict", "cifar10-resnet", "CAT", "--variant", "onx"], 6, "onnx-fp32"),
        (["predict", "nothing", "CAT"], 6, "Known:"),
        (["model", "new", "mine", "nothing.onnx"], 6, "nothing.onnx"),
        (["people", "add", "Eileen", "nothing.jpg"], 6, "nothing.jpg"),
        (["config", "show", "-c", "taken"], 3, "expected `object`"),
        (["predict"], 2, "parameter MODEL"),
        (["predct"], 2, 'Did you mean "predict"?'),
        (["up", "--data", "taken/x", "--port", "0"], 3, "taken"),
        (["up", "--port", "99999"], 3, "--port"),
        (["up", "--host", "0.0.0.0"], 3, "edgewise user add"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(shell: Shell, words: list[str], code: int, said: str) -> None:
    (shell.folder / "taken").write_text("a file, no folder")
    shell.type(*[str(CAT) if word == "CAT" else word for word in words], code=code)
    assert said in shell.said
    assert code == 2 or "→" in shell.said, "it does not say what to do next"


def test_a_model_of_ones_own_becomes_a_package_that_travels(shell: Shell, artifact: Path) -> None:
    (shell.folder / "labels.txt").write_text("red\ngreen\nblue\nnothing\n")
    shell.type("model", "new", "mine", artifact, "--labels", "labels.txt", "--license", "MIT")
    assert shell.json("model", "check", "mine")["passed"]
    assert shell.json("predict", "mine", CAT)["result"]["labels"][0]["name"] == "red"
    shell.type("model", "new", "mine", artifact, code=5)
    assert "exists already" in shell.said

    shell.type("model", "pack", "mine", "mine.zip")
    shell.type("model", "pack", "mine", "labels.txt/mine.zip", code=5)
    assert "labels.txt" in shell.said
    assert shell.json("model", "show", "mine.zip")["licence"] == "MIT"
    assert list(shell.json("bench", "mine.zip", "--seconds", "0.1", "--provider", "tpu")) == ["onnxruntime"]
    assert "runs on cpu: tpu: no such provider" in shell.said
    shell.type("model", "unpack", "mine.zip", "yours")
    assert "classification" in shell.type("model", "show", "yours")
    shell.type("model", "unpack", "mine.zip", "yours", code=5)

    (shell.folder / "yours" / "mine.onnx").write_bytes(b"something else")
    report = shell.json("model", "check", "yours", code=1)
    assert not report["passed"]
    assert "sha256" in report["findings"][0]["message"]
    shell.type("predict", "yours", CAT, code=8)
    assert "(corrupt)" in shell.said


def test_an_engine_that_is_not_installed_is_named_with_its_extra(shell: Shell, artifact: Path) -> None:
    shell.type("model", "new", "mine", artifact)
    manifest = shell.folder / "mine" / "model.yaml"
    text = manifest.read_text()
    without = "import sys; sys.modules['ai_edge_litert'] = None; from edgewise.cli import main; main()"
    manifest.write_text(text.replace("runtime: onnxruntime", "runtime: litert"))
    done = subprocess.run(
        [sys.executable, "-c", without, "bench", "mine"], cwd=shell.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert "pip install 'edgewise[litert]'" in done.stderr


@pytest.mark.zoo
def test_a_household_is_enrolled_listed_and_forgotten(shell: Shell) -> None:
    shutil.copy(EXAMPLE, shell.folder / "edgewise.yaml")
    face = read(ASTRONAUT)
    cv2.imwrite(str(shell.folder / "two.png"), np.hstack([face, face])[..., ::-1])
    (shell.folder / "notes.txt").write_text("no picture")

    shell.type("people", "list")
    assert "edgewise people add" in shell.said
    for photo, code, said in (
        (CAT, 5, "no face"),
        ("two.png", 5, "2 faces"),
        ("notes.txt", 5, "Photo 2"),
        ("nothing.jpg", 6, "nothing.jpg"),
    ):
        shell.type("people", "add", "Eileen", ASTRONAUT, photo, code=code)
        assert said in shell.said
    assert shell.json("people", "list") == []

    shell.type("people", "add", "Eileen", ASTRONAUT, "--prefer", "brightness", code=5)
    assert "brightness=60" in shell.said
    shell.type("people", "add", "Eileen", ASTRONAUT, "--prefer", "brightness=60")
    (eileen,) = shell.json("people", "list")
    assert (eileen["name"], eileen["photos"], eileen["preferences"]) == ("Eileen", 1, {"brightness": 60})
    shell.type("people", "threshold", "0.7")
    assert shell.type("people", "threshold") == "0.7\n"
    shell.type("people", "threshold", "7", code=5)
    shell.type("people", "remove", "Elieen", code=6)
    assert "Eileen" in shell.said
    shell.type("people", "remove", "Eileen")
    assert shell.json("people", "list") == []


def test_settings_are_checked_through_to_rules_models_commands_and_files(shell: Shell) -> None:
    home = shell.folder / "edgewise.yaml"
    home.write_text(EXAMPLE.read_text())
    assert "is right" in shell.type("config", "check")
    faults = [
        ("command: unlock", "command: unlok", "command 'unlok'"),
        ("brightness: =person", "brightness: =persn", "'persn'"),
        ("has(person.preferences.b", "hass(person.preferences.b", "'hass'"),
        ("[yunet, ", "[yunett, ", "'yunett'"),
        ("[yunet, ", "[./mine, ", "mine"),
        ("{kind: recognise}", "{kind: recognise, detector: yunett}", "'yunett'"),
        ("{kind: upload}", "{kind: video, path: door.mp4}", "door.mp4"),
        ("node:", "http: {host: 0.0.0.0, token_file: token}\nnode:", "token"),
    ]
    for right, wrong, said in faults:
        home.write_text(EXAMPLE.read_text().replace(right, wrong, 1))
        shell.type("config", "check", code=3)
        assert said in shell.said, (wrong, shell.said)
        assert re.search(r"edgewise\.yaml, line \d+|http\.token_file", shell.said), shell.said
    shell.environment["EDGEWISE_HTTP__PORT"] = "9000"
    home.write_text(EXAMPLE.read_text())
    shown = shell.json("config", "show")
    assert (shown["http"]["port"], shown["node"]["name"]) == (9000, "home")


def test_the_machine_is_looked_at(shell: Shell) -> None:
    findings = shell.json("doctor")
    assert {"Machine", "Runtimes", "Cameras", "Microphones", "Models", "Settings"} <= {f["section"] for f in findings}
    (shell.folder / "edgewise.yaml").write_text("http: {host: 0.0.0.0}")
    assert "token" in shell.type("doctor", code=1)


def test_a_journal_is_audited_once_there_is_one(shell: Shell) -> None:
    shell.type("journal", "audit", code=6)
    assert "edgewise up" in shell.said
    node = subprocess.Popen(
        [sys.executable, "-m", "edgewise", "up", "--port", "0"],
        cwd=shell.folder,
        env=shell.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert node.stderr is not None
    with node.stderr:
        assert "Edgewise is up" in node.stderr.readline()
        node.send_signal(signal.SIGINT)
        node.stderr.read()
    assert node.wait(TIMEOUT_S) == 0
    audit = shell.json("journal", "audit")
    assert audit["balanced"]
    assert {"events", "decisions", "readings", "audit"} <= {stream["stream"] for stream in audit["streams"]}


def test_a_pipe_that_closes_early_is_no_error(shell: Shell) -> None:
    command = f"{sys.executable} -m edgewise model show cifar10-resnet --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=shell.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{", "")


def test_a_full_disk_behind_a_redirection_is_told(shell: Shell) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgewise", "config", "show", "--json"],
            cwd=shell.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 7, done.stderr
    assert "(storage_full)" in done.stderr
