"""Every command and program in the READMEs and the tutorial is run as it stands there."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGES = ["README.md", "README.zh-CN.md"]
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


@pytest.fixture
def node(desk: Path, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(["edgewise", "up"], cwd=desk, env=environment, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{environment['EDGEWISE_HTTP__PORT']}/v1/health"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(address, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


def run(command: str, *, desk: Path, environment: dict[str, str]) -> None:
    command = command.replace("8470", environment["EDGEWISE_HTTP__PORT"]).replace("curl ", "curl --fail -sS ")
    done = subprocess.run(
        command, shell=True, cwd=desk, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_both_readmes_give_the_same_commands_and_programs() -> None:
    assert commands(PAGES[0]) == commands(PAGES[1])
    assert len(commands(PAGES[0])) > 8
    assert blocks(PAGES[0], "python") == blocks(PAGES[1], "python")


@pytest.mark.zoo
@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_readme_runs(page: str, desk: Path, environment: dict[str, str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in commands(page):
        if command == "edgewise up":
            continue  # it is up
        if command.startswith("make "):
            assert re.search(rf"^{shlex.split(command)[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif command.startswith("pip install "):
            wanted = re.search(r"edgewise\[(.*)\]", command)
            assert wanted
            assert set(wanted[1].split(",")) <= set(extras)
        else:
            run(command, desk=desk, environment=environment)


@pytest.mark.parametrize("page", PAGES)
def test_every_program_of_a_readme_runs(page: str, desk: Path, environment: dict[str, str]) -> None:
    for program in blocks(page, "python"):
        run(f"python -W error -c {shlex.quote(program)}", desk=desk, environment=environment)


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
