"""An encrypted broker that asks who is there: a real Mosquitto with a certificate of our own authority."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewise._lib.clock import SystemClock
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.base import Action, Status
from edgewise.pipeline.devices import Devices
from edgewise.pipeline.kinds import LockSettings
from edgewise.pipeline.sinks.mqtt import Broker, MqttSettings
from edgewise.testing.authority import Authority
from edgewise.testing.broker import PATIENCE_S, Mosquitto, MqttPeer, Secured

pytestmark = pytest.mark.broker

CLOCK = SystemClock()


class Soon(Backoff):
    def next(self) -> float:
        return 0.02


class Place:
    """A secured broker, and what somebody needs to get in."""

    def __init__(self, folder: Path, *, name: str = "localhost", addresses: tuple[str, ...] = ("127.0.0.1",)) -> None:
        self.authority = Authority(folder)
        certificate, key = self.authority.issue(name, addresses=addresses)
        self.mosquitto = Mosquitto(folder, secured=Secured(certificate, key, {"node": "correct horse"}))
        self.password = folder / "password"
        self.password.write_text("correct horse\n")
        self.password.chmod(0o600)

    def broker(self, *, ca: Path | None = None, username: str = "node", host: str = "127.0.0.1") -> Broker:
        settings = MqttSettings(
            host,
            self.mosquitto.secure_port,
            username=username,
            password_file=str(self.password) if username else "",
            tls=True,
            ca_file=str(ca or self.authority.file),
        )
        return Broker(settings, node="home", clock=CLOCK, backoff=Soon())


@pytest.fixture
def devices() -> Iterator[Callable[[Broker], Devices]]:
    """Starts a lock at a broker; closed after the test."""
    started: list[Devices] = []

    def start(broker: Broker) -> Devices:
        lock = broker.device("door", LockSettings(topic="house/door", relock_s=0))
        started.append(Devices([lock], clock=CLOCK, connections=[broker]))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_door_is_opened_over_an_encrypted_connection(tmp_path: Path, devices, host: str) -> None:
    place = Place(tmp_path)
    with place.mosquitto, MqttPeer(place.mosquitto, "house/door", {b"UNLOCK": b"UNLOCKED"}):
        broker = place.broker(host=host)
        house = devices(broker)
        assert broker.wait_connected(PATIENCE_S)
        action = Action("door", "unlock", {}, key="one", expires_ns=CLOCK.time_ns() + 5_000_000_000)
        assert house.perform(action).status is Status.DONE


def refused(place: Place, broker: Broker, devices) -> str:
    """Why it was not let in."""
    with place.mosquitto:
        house = devices(broker)
        assert not broker.wait_connected(1.0)
        return str(house.get("door").state["problem"])


def test_a_broker_of_another_authority_is_not_trusted(tmp_path: Path, devices) -> None:
    place = Place(tmp_path)
    other = Authority(tmp_path, "Another authority")
    assert "certificate verify failed" in refused(place, place.broker(ca=other.file), devices)


def test_a_broker_that_has_another_name_is_not_trusted(tmp_path: Path, devices) -> None:
    place = Place(tmp_path, name="elsewhere.example", addresses=())
    assert "IP address mismatch" in refused(place, place.broker(), devices)


def test_a_wrong_password_is_told(tmp_path: Path, devices) -> None:
    place = Place(tmp_path)
    place.password.write_text("wrong horse\n")
    assert "Not authorized" in refused(place, place.broker(), devices)


def test_nobody_gets_in_without_a_name(tmp_path: Path, devices) -> None:
    place = Place(tmp_path)
    assert "Not authorized" in refused(place, place.broker(username=""), devices)
