"""Every command and program in the READMEs and the tutorial is run as it stands there."""

import contextlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgewise.testing.node import RunningNode

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGES = ["README.md", "README.zh-CN.md"]
TUTORIAL = "docs/tutorial.md"
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TIMEOUT_S = 150


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """The lines after a ``$``, without their comments."""
    lines = [line for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    return [line.removeprefix("$ ").split("  #")[0].rstrip() for line in lines]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with what a reader of the README has: the documentation and the examples."""
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def environment(zoo_cache: Path) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "EDGEWISE_CACHE": str(zoo_cache),
        "EDGEWISE_HTTP__PORT": str(port),
    }


class Reader:
    """Somebody who types the commands of a page, one after the other, in a terminal of their own."""

    def __init__(self, desk: Path, environment: dict[str, str]) -> None:
        self._desk = desk
        self._here = desk
        self._environment = environment
        self._nodes = contextlib.ExitStack()

    def type(self, command: str) -> None:
        if started := re.fullmatch(r"(?:\. \S+ && )?(?:cd (\S+) && )?edgewise up", command):  # in another terminal
            folder = self._desk / (started[1] or ".")
            self._nodes.enter_context(RunningNode(folder, environment=self._environment))
        elif command.startswith("make "):
            assert re.search(rf"^{shlex.split(command)[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif command.startswith("pip install "):
            wanted = re.search(r"'\.\[(.*)\]'", command)
            assert wanted
            assert set(wanted[1].split(",")) <= set(EXTRAS)
        elif "-m venv" not in command:
            said = run(f"{command} && echo && pwd", folder=self._here, environment=self._environment)
            self._here = Path(said.splitlines()[-1])  # a terminal stays where a cd led it

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._nodes.close()


def run(command: str, *, folder: Path, environment: dict[str, str]) -> str:
    command = command.replace("8470", environment["EDGEWISE_HTTP__PORT"]).replace("curl ", "curl --fail -sS ")
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_both_readmes_give_the_same_commands_and_programs() -> None:
    assert commands(PAGES[0]) == commands(PAGES[1])
    assert len(commands(PAGES[0])) > 8
    assert blocks(PAGES[0], "python") == blocks(PAGES[1], "python")


@pytest.mark.zoo
@pytest.mark.parametrize("page", [*PAGES, TUTORIAL])
def test_every_command_of_a_page_runs(page: str, desk: Path, environment: dict[str, str]) -> None:
    with Reader(desk, environment) as reader:
        for command in commands(page):
            reader.type(command)


@pytest.mark.parametrize("page", PAGES)
def test_every_program_of_a_readme_runs(page: str, desk: Path, environment: dict[str, str]) -> None:
    for program in blocks(page, "python"):
        run(f"python -W error -c {shlex.quote(program)}", folder=desk, environment=environment)


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / page for page in (*PAGES, "CHANGELOG.md")] + sorted((ROOT / "docs").rglob("*.md"))
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_example_of_a_whole_smart_home_fits_sixty_lines() -> None:
    assert len((ROOT / "examples/smart-home/edgewise.yaml").read_text().splitlines()) <= 60
