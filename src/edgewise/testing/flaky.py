"""A network that fails: a TCP proxy whose connections are cut at any byte, or that is not there at all."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

_PIECE_BYTES = 16 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset, as a router does that forgot the connection


class FlakyLink:
    """A way to a server on this machine. A context manager.

    Args:
        port: The server's.
        lives: After how many bytes, of both directions together, the next connection is cut; None for never.

    Attributes:
        port: Where clients connect.
        up: Whether the way is there.
        cuts: Connections that were cut.
        carried: Bytes that went over it, of both directions together.
    """

    def __init__(self, port: int, *, lives: Callable[[], int | None] = lambda: None) -> None:
        self._server_port = port
        self._lives = lives
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port: int = self._listening.getsockname()[1]
        self.up = True
        self.cuts = 0
        self.carried = 0

    def cut(self) -> None:
        """Cuts every connection there is."""
        with self._lock:
            for each in list(self._open):
                _reset(each)
            self._open.clear()

    def __enter__(self) -> FlakyLink:
        threading.Thread(target=self._accept, name="flaky link", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = None
            if self.up:
                with contextlib.suppress(OSError):
                    server = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
            if server is None:
                _reset(client)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            life = _Life(self._lives())
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(one, other, life), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, life: _Life) -> None:
        with contextlib.suppress(OSError):
            while piece := one.recv(_PIECE_BYTES):
                allowed = life.spend(len(piece))
                other.sendall(piece[:allowed])
                with self._lock:
                    self.carried += allowed
                if allowed < len(piece):
                    self.cuts += 1
                    break
        with self._lock:
            self._open -= {one, other}
        _reset(one)
        _reset(other)


class _Life:
    """How many bytes a connection may still carry."""

    def __init__(self, left: int | None) -> None:
        self._left = left
        self._lock = threading.Lock()

    def spend(self, size: int) -> int:
        with self._lock:
            if self._left is None:
                return size
            allowed = min(size, self._left)
            self._left -= allowed
            return allowed


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
