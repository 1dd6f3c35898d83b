"""Real MQTT devices: a command arrives once, in time, is confirmed, and is never kept by the broker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewise._lib.clock import SystemClock
from edgewise.errors import SettingsError, UnavailableError
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.base import Action, Status
from edgewise.pipeline.devices import Devices, DeviceSettings
from edgewise.pipeline.kinds import LightSettings, LockSettings
from edgewise.pipeline.sinks.mqtt import Broker, MqttSettings
from edgewise.testing.broker import PATIENCE_S, Mosquitto, MqttPeer

pytestmark = pytest.mark.broker

CLOCK = SystemClock()
LOCK = {b"LOCK": b"LOCKED", b"UNLOCK": b"UNLOCKED"}


class Soon(Backoff):
    def next(self) -> float:
        return 0.02


class House:
    """A lock and a light at a broker, and what they told."""

    def __init__(self, mosquitto: Mosquitto, **settings: Any) -> None:
        self.broker = Broker(
            MqttSettings(mosquitto.host, mosquitto.port, **settings), node="home", clock=CLOCK, backoff=Soon()
        )
        kinds: dict[str, DeviceSettings] = {
            "door": LockSettings(topic="house/door", relock_s=0, confirm_s=0.5),
            "hall": LightSettings(topic="house/hall", confirm_s=0.5),
        }
        self.devices = Devices(
            [self.broker.device(name, kind) for name, kind in kinds.items()], clock=CLOCK, connections=[self.broker]
        )
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._count = 0
        self.devices.subscribe(self._take)

    def _take(self, name: str, state: dict[str, Any]) -> None:
        with self._changed:
            self.told.append((name, state))
            self._changed.notify_all()

    def wait(self, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.devices.get(name).state), PATIENCE_S), self.told
        return self.devices.get(name).state

    def tell(self, device: str, command: str, *, key: str = "", expires_s: float = 5.0, **arguments: Any) -> Status:
        self._count += 1
        expires_ns = CLOCK.time_ns() + int(expires_s * 1e9)
        return self.devices.perform(
            Action(device, command, arguments, key=key or f"key-{self._count}", expires_ns=expires_ns)
        ).status


@contextlib.contextmanager
def living(mosquitto: Mosquitto, **settings: Any) -> Iterator[House]:
    house = House(mosquitto, **settings)
    house.devices.start()
    try:
        assert house.broker.wait_connected(PATIENCE_S)
        yield house
    finally:
        house.devices.close()


def test_a_command_is_done_when_the_device_reports_the_state_it_leads_to(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house, MqttPeer(mosquitto, "house/door", LOCK) as door:
        assert house.tell("door", "unlock", key="one") is Status.DONE
        assert house.devices.get("door").state == {"kind": "lock", "state": "unlocked", "available": True}
        (message,) = door.wait_heard(1)
        assert message.payload == b"UNLOCK"
        assert not message.retain
        assert dict(message.properties.UserProperty)["key"] == "one"
        assert 1 <= message.properties.MessageExpiryInterval <= 5


def test_a_light_is_told_brightness_and_colour_and_may_round_them(mosquitto: Mosquitto) -> None:
    wanted = b'{"state":"ON","brightness":60,"color_temp":4000}'
    answers = {wanted: b'{"state":"ON","brightness":61,"color_temp":4016}'}
    with living(mosquitto) as house, MqttPeer(mosquitto, "house/hall", answers):
        assert house.tell("hall", "turn_on", brightness=60, colour_temp_k=4000) is Status.DONE
        assert house.devices.get("hall").state["brightness"] == 61


def test_a_repeated_or_expired_command_is_not_sent(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house, MqttPeer(mosquitto, "house/door", LOCK) as door:
        assert house.tell("door", "unlock", key="one") is Status.DONE
        assert house.tell("door", "unlock", key="one") is Status.REPEATED
        assert house.tell("door", "unlock", expires_s=-1) is Status.EXPIRED
        assert house.tell("door", "lock") is Status.DONE
        assert [message.payload for message in door.wait_heard(2)] == [b"UNLOCK", b"LOCK"]


def test_commands_are_not_kept_for_who_comes_later(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house:
        with MqttPeer(mosquitto, "house/door", LOCK):
            house.tell("door", "unlock")
        with MqttPeer(mosquitto, "house/door", LOCK) as late:
            late.report(b"LOCKED")
            house.wait("door", lambda state: state["state"] == "locked")
            assert late.heard == []


def test_a_device_that_does_not_confirm_in_time_is_unavailable_and_is_not_asked_again(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house, MqttPeer(mosquitto, "house/door") as deaf:
        with pytest.raises(UnavailableError, match="did not confirm") as caught:
            house.tell("door", "unlock", key="one")
        assert caught.value.facts["sent"] is True
        assert house.tell("door", "unlock", key="one") is Status.REPEATED
        assert len(deaf.wait_heard(1)) == 1


def test_when_nobody_listens_it_is_told_at_once_and_may_be_tried_again(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house:
        with pytest.raises(UnavailableError, match="No device listens to house/door/set"):
            house.tell("door", "unlock", key="one")
        with MqttPeer(mosquitto, "house/door", LOCK):
            assert house.tell("door", "unlock", key="one") is Status.DONE


def test_a_device_that_vanishes_is_offline_by_its_will(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house:
        peer = MqttPeer(mosquitto, "house/door", LOCK)
        with peer:
            peer.report(b"online", suffix="availability")
            peer.report(b"LOCKED")
            house.wait("door", lambda state: state["available"])
            peer.vanish()
            state = house.wait("door", lambda state: not state["available"])
            assert state["problem"] == "it is offline"
            with pytest.raises(UnavailableError, match="door is offline"):
                house.tell("door", "unlock")


def test_a_broker_that_restarts_is_found_again_and_old_commands_do_not_come_back(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house:
        mosquitto.stop()
        house.wait("door", lambda state: state.get("problem", "").startswith("the MQTT broker is not"))
        with pytest.raises(UnavailableError, match="not connected"):
            house.tell("door", "unlock", key="one")
        mosquitto.start()
        assert house.broker.wait_connected(PATIENCE_S)
        with MqttPeer(mosquitto, "house/door", LOCK) as door:
            assert house.tell("door", "lock") is Status.DONE
            assert [message.payload for message in door.heard] == [b"LOCK"]


def test_a_state_that_makes_no_sense_is_told_and_the_next_good_one_mends_it(mosquitto: Mosquitto) -> None:
    with living(mosquitto) as house, MqttPeer(mosquitto, "house/door", LOCK) as door:
        door.report(b"half open")
        state = house.wait("door", lambda state: "half open" in state.get("problem", ""))
        assert state["available"] is False
        door.report(b'{"state": "LOCKED", "battery": 80}')
        assert house.wait("door", lambda state: state["available"])["state"] == "locked"


class Watcher:
    """Hears what the node says of itself."""

    def __init__(self, peer: MqttPeer, topic: str) -> None:
        self._heard: list[bytes] = []
        self._changed = threading.Condition()
        peer._client.message_callback_add(topic, self._take)
        peer._client.subscribe(topic, qos=1)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        with self._changed:
            self._heard.append(message.payload)
            self._changed.notify_all()

    def wait_for(self, *payloads: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._heard == list(payloads), PATIENCE_S), self._heard


def test_the_node_says_that_it_is_there_and_that_it_is_gone(mosquitto: Mosquitto) -> None:
    with MqttPeer(mosquitto, "house/watcher") as peer:
        watcher = Watcher(peer, "edgewise/front/status")
        with living(mosquitto, client_id="front"):
            watcher.wait_for(b"online")
        watcher.wait_for(b"online", b"offline")


def test_the_broker_says_so_when_the_node_dies(mosquitto: Mosquitto) -> None:
    with MqttPeer(mosquitto, "house/watcher") as peer:
        watcher = Watcher(peer, "edgewise/front/status")
        with living(mosquitto, client_id="front") as house:
            watcher.wait_for(b"online")
            client = house.broker._client
            assert client is not None
            client.loop_stop()
            client.socket().close()
            watcher.wait_for(b"online", b"offline")


def test_a_password_file_that_is_not_there_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"mqtt\.password_file: cannot read .*none"):
        Broker(MqttSettings("127.0.0.1", username="u", password_file=str(tmp_path / "none")), node="home", clock=CLOCK)


def test_authorities_that_cannot_be_read_are_a_fault_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for file in ("none.pem", "empty.pem"):
        with pytest.raises(SettingsError, match="ca_file") as caught:
            Broker(MqttSettings("127.0.0.1", tls=True, ca_file=str(tmp_path / file)), node="home", clock=CLOCK)
        assert "PEM" in caught.value.hint
