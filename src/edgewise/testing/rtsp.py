"""A real RTSP camera for tests: a server (GStreamer) in a process of its own, and a wire to it that can be spoilt."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from edgewise.errors import UnavailableError
from edgewise.testing import rtsp_server
from edgewise.testing.broker import free_port

if TYPE_CHECKING:
    import ssl

    from edgewise.types import Image

PATIENCE_S = 20.0
HINT = "apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi"
_INTERLEAVED = b"$"
_RTP_HEADER_BYTES = 12
# A connection that ends is the end of its thread.
_GONE = (OSError, struct.error)


class RtspServer:
    """A camera at ``url``, on a free port of the loopback. A context manager.

    Each picture carries its number, see ``number_of``.

    Args:
        options: Of ``rtsp_server``, such as ``{"fps": 50, "username": "viewer"}``.

    Raises:
        UnavailableError: GStreamer's RTSP server is not installed or does not come up.
    """

    host = "127.0.0.1"

    def __init__(self, **options: object) -> None:
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its camera is."""
        return f"rtsp://{self.host}:{self.port}/camera"

    def start(self) -> None:
        """Starts it and returns when it answers."""
        words = [f"--{name}={value}" for name, value in {"port": self.port, **self._options}.items()]
        python = _python_with_gstreamer()
        self._process = subprocess.Popen(
            [python, "-I", rtsp_server.__file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self._answer() != "ready":
            self.stop()
            raise UnavailableError("The RTSP server did not come up", hint=HINT)

    def stop(self) -> None:
        """Ends it, as a power cut would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process = None

    def freeze(self) -> None:
        """Its connections stay, and nothing comes any more."""
        os.kill(self._running.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on."""
        os.kill(self._running.pid, signal.SIGCONT)

    def resize(self, width: int, height: int) -> None:
        """Pictures have this size from now on."""
        self._ask(f"size {width}x{height}")

    def newest(self) -> int:
        """Number of the newest picture it has sent."""
        return int(self._ask("count"))

    def wait_newest(self, number: int) -> None:
        """Waits until it has sent that many pictures."""
        deadline = time.monotonic() + PATIENCE_S
        while self.newest() < number:
            if time.monotonic() > deadline:
                raise UnavailableError(f"The RTSP server sent {self.newest()} pictures, not {number}")
            time.sleep(0.02)

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise UnavailableError("The RTSP server is not running")
        return self._process

    def _ask(self, line: str) -> str:
        stdin = self._running.stdin
        if stdin is not None:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        stdout: IO[bytes] | None = self._running.stdout
        if stdout is None or not select.select([stdout], [], [], PATIENCE_S)[0]:
            return ""
        return stdout.readline().decode().strip()


def number_of(image: Image) -> int:
    """The number that a picture of ``RtspServer`` carries, modulo 2 to the power of ``BITS``."""
    row = image[image.shape[0] // 2, :, 1]
    stripe = row.size // rtsp_server.BITS
    bits = "".join("1" if row[place * stripe + stripe // 2] > 127 else "0" for place in range(rtsp_server.BITS))
    return int(bits, 2)


class NoisyWire:
    """Carries TCP between a client and an RTSP server, and flips a byte in as many packets of video as it is told. A
    context manager.

    Args:
        port: Of the server.
        encryption: The client's end speaks TLS.
    """

    host = "127.0.0.1"

    def __init__(self, port: int, encryption: ssl.SSLContext | None = None) -> None:
        self._encryption = encryption
        self._to_spoil = 0
        self._quiet = threading.Event()
        self._server = port
        self._listener = socket.create_server((self.host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = [self._listener]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """Where the camera is for those at this end."""
        return f"{'rtsps' if self._encryption else 'rtsp'}://{self.host}:{self.port}/camera"

    def spoil(self, packets: int) -> None:
        """Spoils the next packets."""
        self._quiet.clear()
        self._to_spoil = packets

    def wait_quiet(self) -> None:
        """Waits until they are spoilt."""
        if not self._quiet.wait(PATIENCE_S):
            raise UnavailableError(f"{self._to_spoil} packets were not sent")

    def __enter__(self) -> NoisyWire:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._sockets:
            with contextlib.suppress(*_GONE):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(PATIENCE_S)

    def _accept(self) -> None:
        with contextlib.suppress(*_GONE):
            while True:
                near, _ = self._listener.accept()
                try:
                    near = self._encryption.wrap_socket(near, server_side=True) if self._encryption else near
                except OSError:  # the client does not trust us
                    near.close()
                    continue
                far = socket.create_connection((self.host, self._server))
                self._sockets += [near, far]
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()
                threading.Thread(target=self._carry_video, args=(far, near), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(*_GONE):
            while chunk := source.recv(65536):
                sink.sendall(chunk)

    def _carry_video(self, source: socket.socket, sink: socket.socket) -> None:
        """Interleaved packets (RFC 2326, 10.12) apart from answers, which end with a line of their own."""
        with contextlib.suppress(*_GONE), source.makefile("rb") as stream:
            while first := stream.read(1):
                if first != _INTERLEAVED:
                    sink.sendall(first + stream.readline())
                    continue
                head = stream.read(3)
                channel, size = struct.unpack(">BH", head)
                packet = bytearray(stream.read(size))
                if self._to_spoil and channel % 2 == 0 and size > 4 * _RTP_HEADER_BYTES:
                    packet[size // 2] ^= 0xFF
                    self._to_spoil -= 1
                    if not self._to_spoil:
                        self._quiet.set()
                sink.sendall(first + head + packet)


def _python_with_gstreamer() -> str:
    """A Python that has GStreamer's bindings: Debian's has, a virtual environment has not."""
    candidates = [path for path in ("/usr/bin/python3", shutil.which("python3")) if path and Path(path).exists()]
    test = "import gi; gi.require_version('GstRtspServer', '1.0')"
    for python in candidates:
        if subprocess.run([python, "-I", "-c", test], capture_output=True, check=False).returncode == 0:
            return python
    raise UnavailableError("GStreamer's RTSP server is not installed", hint=HINT)
