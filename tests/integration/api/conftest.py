"""A real node behind a real server, for the API's tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from edgewise.api.app import create_app
from edgewise.api.server import Server, configure, listen
from edgewise.models.manifest import Input, Output
from edgewise.node.node import Node
from edgewise.node.settings import Settings, load
from edgewise.testing.packages import write_classifier, write_echo, write_fake

SETTINGS = """
models: [MODELS/echo, MODELS/colours, MODELS/words, MODELS/half, MODELS/broken]
http: {port: 0, max_body_bytes: 4194304, body_timeout_s: 2}
pipelines:
  door:
    source: {kind: upload}
devices:
  front: {kind: lock}
  lamp: {kind: light}
"""


def write_models(folder: Path) -> None:
    """The models that the API's tests use."""
    write_echo(folder)
    write_classifier(folder)
    write_echo(folder, "words", shape=(-1,), datatype="BYTES")
    write_echo(folder, "half", shape=(-1, 4), datatype="FP16")
    tensors = {"datatype": "FP32", "shape": (-1, 2)}
    write_fake(
        folder, "broken", inputs=[Input(name="x", **tensors)], outputs=[Output(name="y", **tensors)], behaviour="fail"
    )


class LiveServer:
    """A node with its server, in threads of this process."""

    def __init__(self, settings: Settings, *, folder: Path) -> None:
        self.folder = folder
        self.node = Node(settings)
        self.node.start()
        self._socket = listen(settings.http.host, settings.http.port)
        ready = threading.Event()
        self.address = ""

        def announce(address: str) -> None:
            self.address = address
            ready.set()

        self._server = Server(configure(create_app(self.node)), on_ready=announce)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="server")
        self._thread.start()
        assert ready.wait(20)

    @property
    def host(self) -> str:
        """Host and port, as tritonclient wants them."""
        return self.address.removeprefix("http://")

    def stop(self) -> None:
        """Stops the server, then the node. Once is enough."""
        if not self._thread.is_alive():
            return
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        self.node.stop()


@pytest.fixture(scope="session")
def api_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models that the API's tests use."""
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="module")
def start_api(api_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LiveServer]]:
    """Starts servers with other settings. They are stopped behind the module: a camera that plays on in this process
    takes the cores from the tests that follow, and runs through what those patch.
    """
    started: list[LiveServer] = []

    def start(text: str = SETTINGS, **flags: object) -> LiveServer:
        folder = tmp_path_factory.mktemp("node")
        file = folder / "edgewise.yaml"
        file.write_text(text.replace("MODELS", str(api_models)))
        started.append(LiveServer(load(file, environment={}, flags=flags), folder=folder))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def api(start_api: Callable[..., LiveServer]) -> LiveServer:
    """One server that all tests of a module share which do not change it for others."""
    return start_api()


@pytest.fixture
def http(api: LiveServer) -> Iterator[httpx.Client]:
    """A client of the shared server."""
    with httpx.Client(base_url=api.address, timeout=20) as client:
        yield client
