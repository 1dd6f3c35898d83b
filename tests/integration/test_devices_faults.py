"""Real faults between a node and a lock that runs as a program of its own at a real broker."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewise._lib.clock import SystemClock
from edgewise.errors import UnavailableError
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.base import Action, Origin, Outcome, Status
from edgewise.pipeline.devices import Devices
from edgewise.pipeline.kinds import LockSettings
from edgewise.pipeline.sinks.mqtt import Broker, MqttSettings
from edgewise.testing.actuator import RunningActuator
from edgewise.testing.broker import PATIENCE_S, Mosquitto
from edgewise.testing.node import RunningNode

pytestmark = pytest.mark.broker

CLOCK = SystemClock()
STATUS = "edgewise/edgewise-home/status"
TOPIC = "house/door"
# The first answer of a fresh node on a busy machine.
HTTP_S = 60.0


class Soon(Backoff):
    def next(self) -> float:
        return 0.05


class House:
    """A node's devices at a broker."""

    def __init__(self, mosquitto: Mosquitto) -> None:
        self.broker = Broker(
            MqttSettings(mosquitto.host, mosquitto.port, keep_alive_s=5), node="home", clock=CLOCK, backoff=Soon()
        )
        lock = self.broker.device("door", LockSettings(topic=TOPIC, relock_s=0, confirm_s=1.0))
        self.devices = Devices([lock], clock=CLOCK, connections=[self.broker])

    def tell(self, command: str, key: str) -> Outcome:
        expires_ns = CLOCK.time_ns() + 5_000_000_000
        return self.devices.perform(Action("door", command, {}, key=key, expires_ns=expires_ns, origin=Origin.RULE))

    def wait(self, holds: Callable[[dict[str, Any]], object]) -> None:
        until(lambda: holds(self.devices.get("door").state))


def until(condition: Callable[[], Any]) -> Any:
    """Waits for something that another process does."""
    deadline = time.monotonic() + HTTP_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


@contextlib.contextmanager
def living(mosquitto: Mosquitto) -> Iterator[House]:
    house = House(mosquitto)
    house.devices.start()
    try:
        house.wait(lambda state: state["state"] == "locked" and state["available"])
        yield house
    finally:
        house.devices.close()


def lock(mosquitto: Mosquitto, *options: str) -> RunningActuator:
    return RunningActuator(mosquitto.port, topic=TOPIC, status=STATUS, options=options)


def test_a_broker_that_hangs_is_given_no_command(mosquitto: Mosquitto) -> None:
    with lock(mosquitto, "--plain") as door, living(mosquitto) as house:
        mosquitto.pause()
        with pytest.raises(UnavailableError, match="does not answer") as caught:
            house.tell("unlock", "one")
        assert caught.value.facts["sent"] is False
        mosquitto.resume()
        house.wait(lambda state: state["available"])
        assert house.tell("lock", "two").status is Status.DONE  # what was held up would have come before this
        door.wait(lambda _: door.acts == ["lock"])
        assert house.tell("unlock", "one").status is Status.DONE


def test_a_broker_that_hangs_is_given_no_command_however_many_messages_went_before(mosquitto: Mosquitto) -> None:
    with lock(mosquitto, "--plain"), living(mosquitto) as house:
        for _ in range(50):
            house.broker.publish("somewhere", b"said in passing")
        assert house.tell("unlock", "one").status is Status.DONE
        assert house.broker._client is not None
        house.broker._client._last_mid = 10  # as after 65,535 of them: packet identifiers begin again
        mosquitto.pause()
        with pytest.raises(UnavailableError, match="does not answer") as caught:
            house.tell("lock", "two")
        assert caught.value.facts["sent"] is False
        mosquitto.resume()


def in_background(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Runs something that waits; gives its result or error."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(call())
        except UnavailableError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


@pytest.mark.parametrize("fault", ["hangs", "restarts"])
def test_a_broker_that_fails_in_the_middle_of_a_command_leaves_the_door_locked(
    mosquitto: Mosquitto, fault: str
) -> None:
    with lock(mosquitto, "--slow=0.3") as door, living(mosquitto) as house:
        thread, ended = in_background(lambda: house.tell("unlock", "one"))
        door.wait(lambda said: {"heard": "one"} in said)
        if fault == "hangs":
            mosquitto.pause()
        else:
            mosquitto.stop()
        thread.join(PATIENCE_S)
        (error,) = ended
        assert isinstance(error, UnavailableError)
        assert error.facts["fail_safe"] is True
        if fault == "hangs":
            mosquitto.resume()
        else:
            mosquitto.start()
        door.wait(lambda _: door.acts[-1:] == ["lock"])
        until(lambda: house.devices.due("door") == "")
        house.wait(lambda state: state["state"] == "locked" and state["available"])
        assert door.acts.count("unlock") <= 1
        keys = [line["key"] for line in door.said if line.get("key")]
        assert len(keys) == len(set(keys))
        assert house.tell("unlock", "one").status is Status.REPEATED


SETTINGS = """
node: {name: home, data: ./data}
http: {port: 0}
mqtt: {host: 127.0.0.1, port: PORT}
devices:
  door: {kind: lock, relock_s: 0, topic: house/door}
"""


class Power:
    """A node in a process of its own, whose power is cut in the middle of a command."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        (folder / "edgewise.yaml").write_text(SETTINGS.replace("PORT", str(mosquitto.port)))
        self.node = RunningNode(folder)

    def unlock(self) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.node.address}/v1/devices/door/commands",
            json={"command": "unlock"},
            headers={"idempotency-key": "one"},
            timeout=HTTP_S,
        )
        return dict(answer.raise_for_status().json())

    def door(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.node.address}/v1/devices/door", timeout=HTTP_S)
        assert answer.status_code == 200, (answer.text, self.node.output)
        return dict(answer.raise_for_status().json())

    def cut(self, door: RunningActuator) -> None:
        """While a command is under way."""

        def ask() -> None:
            with contextlib.suppress(httpx.HTTPError):
                self.unlock()

        until(lambda: self.door()["available"])
        asking = threading.Thread(target=ask)
        asking.start()
        door.wait(lambda said: [line for line in said if "heard" in line])
        self.node.kill()
        asking.join(HTTP_S)


def test_when_the_node_dies_in_the_middle_of_a_command_the_device_goes_where_it_is_safe(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    power = Power(tmp_path, mosquitto)
    with lock(mosquitto, "--slow=0.5") as door:
        power.node.start()
        power.cut(door)
        door.wait(lambda _: door.acts == ["unlock", "lock"])  # by itself, as the broker says that the node is gone


def test_a_node_that_comes_back_locks_what_it_left_open_and_repeats_nothing(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    power = Power(tmp_path, mosquitto)
    with lock(mosquitto, "--slow=0.5", "--plain") as door:
        power.node.start()
        power.cut(door)
        door.wait(lambda _: door.acts == ["unlock"])  # it knows nothing of nodes
        power.node.start()
        try:
            door.wait(lambda _: door.acts == ["unlock", "lock"])
            assert power.unlock()["status"] == "repeated"
            records = httpx.get(f"{power.node.address}/v1/events", params={"stream": "decisions"}, timeout=HTTP_S)
            told = [each["body"] for each in records.json()["events"] if each["kind"] == "device.fail_safe"]
            # It is tried at once, and told once when the broker or the lock is not there yet.
            assert [each["status"] for each in told] in (["done"], ["done", "failed"])
            assert {each["reason"] for each in told} == {"unconfirmed"}
        finally:
            power.node.stop()
        assert door.acts.count("unlock") == 1
