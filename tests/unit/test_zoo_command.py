"""A registry's client is held within time and bytes, with all that it starts."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

import pytest

from edgewise.errors import TooLargeError, UnavailableError
from edgewise.zoo.origins import command
from edgewise.zoo.origins.base import Origin
from edgewise.zoo.origins.command import download

ORIGIN = Origin("pypi", "tiny==1", max_bytes=1000)


def run(folder: Path, script: str, *, timeout_s: float = 60.0) -> Path:
    return download(ORIGIN, [sys.executable, "-c", script], folder=folder, pattern="*.whl", timeout_s=timeout_s)


def test_the_one_file_that_a_client_leaves_is_taken(tmp_path: Path) -> None:
    path = run(tmp_path, "open('a.whl', 'wb').write(b'x' * 1000)")
    assert path.read_bytes() == b"x" * 1000
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("script", ["pass", "open('a.whl', 'w'), open('b.whl', 'w')"])
def test_no_file_or_several_are_a_failure(tmp_path: Path, script: str) -> None:
    with pytest.raises(UnavailableError, match="expected one"):
        run(tmp_path, script)


def test_a_client_that_never_stops_writing_is_stopped(tmp_path: Path) -> None:
    script = "import time; f = open('cache', 'wb'); f.write(b'x' * 10_000); f.flush(); time.sleep(600)"
    with pytest.raises(TooLargeError):
        run(tmp_path, script)
    assert list(tmp_path.iterdir()) == []


def test_what_a_client_writes_as_temporary_counts_too(tmp_path: Path) -> None:
    script = "import tempfile, time; f = tempfile.TemporaryFile(); f.close(); open(tempfile.mkstemp()[1], 'wb')"
    with pytest.raises(TooLargeError):
        run(tmp_path, f"{script}.write(b'x' * 10_000); time.sleep(600)")


def test_a_client_that_takes_too_long_ends_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    script = (
        f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}], "
        f"stdout=subprocess.PIPE); open('part', 'wb').write(p.stdout.readline()); "
        f"os.rename('part', {str(tmp_path / 'pid')!r}); p.wait()"
    )
    # The time is up when the child runs, however long a busy machine took to start it.
    monkeypatch.setattr(command.time, "monotonic", lambda: 61.0 if (tmp_path / "pid").exists() else 0.0)
    with pytest.raises(UnavailableError, match="no result after 60 s"):
        run(tmp_path, script)
    with contextlib.suppress(ProcessLookupError):
        ending = os.pidfd_open(int((tmp_path / "pid").read_text()))
        assert select.select([ending], [], [], 10)[0]
        os.close(ending)


def test_what_a_client_says_of_a_failure_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="ERROR: the mirror is closed") as caught:
        run(tmp_path, "print('one'); print('ERROR: the mirror is closed'); print('bye'); raise SystemExit(1)")
    assert caught.value.hint


def test_a_client_gets_no_terminal_to_ask_on(tmp_path: Path) -> None:
    run(tmp_path, "import sys; assert sys.stdin.read() == ''; open('a.whl', 'w')")


def test_the_settings_of_the_user_reach_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROXY", "here")
    run(tmp_path, "import os; assert os.environ['SOME_PROXY'] == 'here'; open('a.whl', 'w')")
    assert "TMPDIR" not in os.environ or os.environ["TMPDIR"] != str(tmp_path)
