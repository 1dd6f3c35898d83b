"""docs/extend/task.md, followed to the letter: a task from outside works through its entry point alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgewise.errors import PackageError
from edgewise.models import package

CHECKLIST = Path(__file__).parents[2] / "docs" / "extend" / "task.md"

PROGRAM = """
from pathlib import Path
import sys

from edgewise.models import package, tasks
from edgewise.models.model import Model

folder = Path(sys.argv[1])
assert "count" in tasks.kinds()
assert package.check(folder).passed, package.check(folder)
with Model.open(folder) as model:
    print(model.predict([[0.2, 0.9, 0.7]]).result.values)
    print(model.predict([[0.2, 0.9, 0.7]], threshold=0.8).result.values)
"""

MANIFEST = """
name: counter
version: "1"
licence: MIT
task: {kind: count, threshold: 0.5}
inputs: [{name: x, datatype: FP32, shape: [1, 3]}]
outputs: [{name: y, datatype: FP32, shape: [1, 3]}]
variants: [{name: echo, runtime: fake, artifact: model.json}]
"""

ARTIFACT = """
{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3]}],
 "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3]}]}
"""


def blocks() -> dict[str, str]:
    """The files of the checklist, by the name that stands in the first line of each."""
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", CHECKLIST.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


def install(site: Path) -> None:
    """What ``pip install`` leaves behind: the module, and metadata with the entry point of the checklist."""
    files = blocks()
    (site / "edgewise_count.py").write_text(files["edgewise_count.py"])
    points = re.search(r'\[project\.entry-points\."([^"]+)"\]\n(\w+) = "([^"]+)"', files["pyproject.toml"])
    assert points is not None
    info = site / "edgewise_count-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgewise-count\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{points[1]}]\n{points[2]} = {points[3]}\n")


def make_package(folder: Path) -> None:
    folder.mkdir()
    (folder / "model.yaml").write_text(MANIFEST)
    (folder / "model.json").write_text(ARTIFACT)
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from edgewise.models import package; package.seal(pathlib.Path(sys.argv[1]))",
            str(folder),
        ],
        check=True,
        env={**os.environ, "PYTHONPATH": str(folder.parent / "site")},
    )


def test_the_checklist_adds_a_task_from_outside(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install(site)
    make_package(tmp_path / "counter")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "counter")],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["{'count': 2.0}", "{'count': 1.0}"]


def test_without_the_package_the_task_is_unknown() -> None:
    with pytest.raises(PackageError, match="'count' is no task"):
        package.parse_manifest(MANIFEST)
