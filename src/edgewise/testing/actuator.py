"""A simulated device that acts: as a part of tests, and as a program of its own at a real MQTT broker.

One that *honours* what Edgewise sends along acts once per key, never after a command's expiry, and goes to its
fail-safe state when the node is gone or it loses the broker itself. A plain one does what it is told when it hears it.

As a program it prints one JSON line for each act::

    python -m edgewise.testing.actuator --port 1883 --topic house/door --status edgewise/edgewise-home/status
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import msgspec

from edgewise.errors import InputError, UnavailableError
from edgewise.pipeline.kinds import (
    KINDS,
    Command,
    DeviceSettings,
    Lock,
    LockSettings,
    State,
    Unlock,
    fail_safe,
    transition,
)

_WORDS: dict[bytes, Command] = {b"LOCK": Lock(), b"UNLOCK": Unlock()}


class Act(msgspec.Struct, frozen=True):
    """One thing that a device did; ``key`` is empty when it did it by itself."""

    key: str
    command: str
    time_ns: int


class Actuator:
    """What a device does with what it hears. Safe for threads.

    Args:
        settings: Its kind and fail-safe state.
        now_ns: Its clock.
        honours: Whether it honours keys, expiries and the end of the node.
    """

    def __init__(
        self, settings: DeviceSettings, *, now_ns: Callable[[], int] = time.time_ns, honours: bool = True
    ) -> None:
        self._settings = settings
        self._now_ns = now_ns
        self._honours = honours
        self._lock = threading.Lock()
        self.state: State = KINDS[type(settings)].initial
        self.acts: list[Act] = []

    def take(self, command: Command, *, key: str, expires_ns: int) -> bool:
        """Hears a command; returns whether it acted."""
        with self._lock:
            known = any(act.key == key for act in self.acts)
            if self._honours and (known or self._now_ns() >= expires_ns):
                return False
            self._act(command, key)
            return True

    def lose_node(self) -> bool:
        """Hears that the node is gone; returns whether it did something."""
        command = fail_safe(self._settings)
        with self._lock:
            if not self._honours or command is None or transition(self.state, command) == self.state:
                return False
            self._act(command, "")
            return True

    def _act(self, command: Command, key: str) -> None:
        self.state = transition(self.state, command)
        self.acts.append(Act(key, type(command).__name__.lower(), self._now_ns()))


class RunningActuator:
    """A lock at a broker, in a process of its own. A context manager.

    Args:
        port: Of the broker.
        topic: Of the lock.
        status: Topic on which the node says whether it is there.
        options: Of the program, such as ``--plain``.

    Attributes:
        said: What it has told so far, one line each.
    """

    def __init__(self, port: int, *, topic: str, status: str, options: Sequence[str] = ()) -> None:
        self._arguments = [f"--port={port}", f"--topic={topic}", f"--status={status}", *options]
        self._changed = threading.Condition()
        self.said: list[dict[str, Any]] = []

    @property
    def acts(self) -> list[str]:
        """What it did, in order."""
        with self._changed:
            return [line["command"] for line in self.said if "command" in line]

    def wait(self, holds: Callable[[list[dict[str, Any]]], object], *, timeout_s: float = 20.0) -> None:
        """Waits until something holds of what it said.

        Raises:
            UnavailableError: It did not come to pass.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: holds(self.said), timeout_s):
                raise UnavailableError(f"The device said {self.said}")

    def __enter__(self) -> RunningActuator:
        command = [sys.executable, "-m", __name__, *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait(lambda said: {"connected": True} in said)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                with self._changed:
                    self.said.append(msgspec.json.decode(line))
                    self._changed.notify_all()


class _Program:
    """A lock at a broker."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self._arguments = arguments
        self._topic = arguments.topic
        self._actuator = Actuator(LockSettings(topic=self._topic), honours=not arguments.plain)
        self._told = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"actuator-{self._topic}", protocol=paho.MQTTv5)
        self._client.will_set(f"{self._topic}/availability", b"offline", qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._settle(self._actuator.lose_node())
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)

    def run(self) -> None:
        """Never returns."""
        self._client.connect(self._arguments.host, self._arguments.port, keepalive=5)
        self._client.loop_forever(retry_first_connection=True)

    def _on_connect(self, client: Any, *_: Any) -> None:
        client.subscribe([(f"{self._topic}/set", 1), (self._arguments.status, 1)])
        client.publish(f"{self._topic}/availability", b"online", qos=1, retain=True)
        self._settle(acted=False)
        self._say({"connected": True})

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        if message.topic == self._arguments.status:
            self._settle(message.payload == b"offline" and self._actuator.lose_node())
        elif not message.retain and message.payload in _WORDS:
            said = dict(getattr(message.properties, "UserProperty", []))
            if self._arguments.slow:
                self._say({"heard": said["key"]})
                time.sleep(self._arguments.slow)
            command = _WORDS[message.payload]
            self._settle(self._actuator.take(command, key=said["key"], expires_ns=int(said["expires_ns"])))

    def _settle(self, acted: bool) -> None:
        """Tells the broker its state, and who watches what it did."""
        state = str(getattr(self._actuator.state, "state", "")).upper()
        self._client.publish(f"{self._topic}/state", state, qos=1, retain=True)
        if acted:
            for act in self._actuator.acts[self._told :]:
                self._say(msgspec.to_builtins(act))
            self._told = len(self._actuator.acts)

    def _say(self, facts: dict[str, Any]) -> None:
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        sys.stdout.flush()


def main() -> None:
    """Runs a lock at a broker until it is ended."""
    parser = argparse.ArgumentParser(prog="edgewise.testing.actuator")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--status", required=True, help="the topic on which the node says whether it is there")
    parser.add_argument("--plain", action="store_true", help="honours neither keys nor expiries nor the node's end")
    parser.add_argument("--slow", type=float, default=0.0, help="seconds that it takes to act")
    arguments = parser.parse_args()
    if "#" in arguments.topic or "+" in arguments.topic:
        raise InputError("A device has a topic, not a filter")
    _Program(arguments).run()


if __name__ == "__main__":
    main()
