"""docs/extend/source.md to the letter: a source and a transform from outside work through their entry points alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKLIST = Path(__file__).parents[2] / "docs" / "extend" / "source.md"

PROGRAM = """
import pathlib, sys

from edgewise.node.node import Node
from edgewise.node.settings import load

node = Node(load(pathlib.Path(sys.argv[1]), environment={}))
try:
    node.start()
    assert node.pipelines["harbour"].join(30), node.pipelines["harbour"].state()
    for record in node.journal.read("readings"):
        print(record.body["source"], record.body["values"]["level_m"], round(record.body["values"]["level_ft"], 2))
finally:
    node.stop()
"""


def blocks() -> dict[str, str]:
    """The files of the checklist, by the name that stands in the first line of each."""
    return dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", CHECKLIST.read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What ``pip install`` leaves behind: the module, and metadata with the entry points of the checklist."""
    files = blocks()
    folder = tmp_path / "site"
    info = folder / "edgewise_tide-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "edgewise_tide.py").write_text(files["edgewise_tide.py"])
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edgewise-tide\nVersion: 1.0\n")
    groups = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]
    (info / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in groups.items()
        )
    )
    return folder


def run(folder: Path, settings: str, *, site: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "edgewise.yaml"
    file.write_text(settings)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )


def test_a_source_and_a_transform_from_outside_fill_the_journal(tmp_path: Path, site: Path) -> None:
    done = run(tmp_path, blocks()["edgewise.yaml"], site=site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"harbour {level}.0 {round(level / 0.3048, 2)}" for level in range(1, 6)]


def test_options_that_do_not_fit_are_refused_by_name(tmp_path: Path, site: Path) -> None:
    done = run(tmp_path, blocks()["edgewise.yaml"].replace("readings: 5", "readings: many"), site=site)
    assert done.returncode != 0
    assert "Options of 'tide'" in done.stderr


def test_without_the_package_the_settings_say_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, blocks()["edgewise.yaml"], site=tmp_path)
    assert done.returncode != 0
    assert "No entry point of edgewise.sources is named 'tide'" in done.stderr
