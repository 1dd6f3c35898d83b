"""A real MQTT broker (Eclipse Mosquitto) for tests, and a simulated device that speaks to it."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from edgewise.errors import UnavailableError

PATIENCE_S = 10.0


class Secured(NamedTuple):
    """A listener that encrypts and asks who is there."""

    certificate: Path
    key: Path
    users: dict[str, str]


class Mosquitto:
    """A Mosquitto on a free port of the loopback, with nothing kept on disk. A context manager.

    Args:
        folder: For its configuration and log.
        secured: Certificate and key of a second listener with TLS, and its users with their passwords; None for none.
        persistent: Whether it keeps on disk what it has to.

    Attributes:
        port: Where anybody may connect.
        secure_port: Where only its users may, by TLS.

    Raises:
        UnavailableError: It is not installed or does not come up.
    """

    host = "127.0.0.1"

    def __init__(self, folder: Path, *, secured: Secured | None = None, persistent: bool = False) -> None:
        self.port = free_port()
        self.secure_port = free_port() if secured else 0
        self._secured = secured
        self._persistent = persistent
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and returns when it answers."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise UnavailableError("mosquitto is not installed", hint="apt-get install mosquitto")
        config = self._folder / "mosquitto.conf"
        log = self._folder / "mosquitto.log"
        lines = [
            "per_listener_settings true",
            *(
                [
                    "persistence true",
                    f"persistence_location {self._folder}/",
                    "max_queued_messages 0",
                    "max_inflight_messages 0",
                ]
                if self._persistent
                else ["persistence false"]
            ),
            f"log_dest file {log}",
            f"user {getpass.getuser()}",
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            *self._secure_lines(),
        ]
        config.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), timeout=0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise UnavailableError(f"mosquitto did not come up, see {log}")

    def stop(self) -> None:
        """Ends it, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It hangs: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on with what came meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise UnavailableError("mosquitto is not running")
        self._process.send_signal(number)

    def _secure_lines(self) -> list[str]:
        if self._secured is None:
            return []
        users = self._folder / "users"
        users.write_text("".join(f"{name}:{password}\n" for name, password in self._secured.users.items()))
        users.chmod(0o600)
        program = shutil.which("mosquitto_passwd")
        if program is None:
            raise UnavailableError("mosquitto_passwd is not installed", hint="apt-get install mosquitto")
        subprocess.run([program, "-U", str(users)], check=True)
        return [
            f"listener {self.secure_port} {self.host}",
            "allow_anonymous false",
            f"password_file {users}",
            f"certfile {self._secured.certificate}",
            f"keyfile {self._secured.key}",
        ]

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MqttPeer:
    """A second client at the broker: keeps what it hears, and answers as a device would. A context manager.

    Args:
        broker: Where to connect.
        topic: Listens to ``TOPIC/set`` and reports on ``TOPIC/state``.
        answers: State to report for each command payload; commands not in it are heard and not answered.
    """

    def __init__(self, broker: Mosquitto, topic: str, answers: dict[bytes, bytes] | None = None) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[Any] = []
        self._topic = topic
        self._answers = answers or {}
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._broker = broker
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"peer-{topic}", protocol=paho.MQTTv5)
        self._client.will_set(f"{topic}/availability", b"offline", qos=1, retain=True)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{topic}/set", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message

    def report(self, state: bytes, *, suffix: str = "state") -> None:
        """Publishes a retained state (or availability)."""
        self._client.publish(f"{self._topic}/{suffix}", state, qos=1, retain=True).wait_for_publish(PATIENCE_S)

    def wait_heard(self, count: int) -> list[Any]:
        """Waits until that many commands were heard."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.heard) >= count, PATIENCE_S):
                raise UnavailableError(f"heard {len(self.heard)} commands, not {count}")
            return list(self.heard)

    def vanish(self) -> None:
        """Breaks off without saying goodbye."""
        self._client.loop_stop()
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def __enter__(self) -> MqttPeer:
        self._client.connect(self._broker.host, self._broker.port)
        self._client.loop_start()
        if not self._ready.wait(PATIENCE_S):
            raise UnavailableError("the peer could not subscribe")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: Any, _data: Any, message: Any) -> None:
        answer = self._answers.get(message.payload)
        if answer is not None:
            client.publish(f"{self._topic}/state", answer, qos=1, retain=True)
        with self._changed:
            self.heard.append(message)
            self._changed.notify_all()
