"""Sensors on a real broker: what their messages become, and that none is lost while the node or the broker is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt import publish

from edgewise._lib.clock import SystemClock
from edgewise.errors import SettingsError, UnavailableError
from edgewise.node.settings import load
from edgewise.pipeline.base import Reading
from edgewise.pipeline.sinks.mqtt import MqttSettings
from edgewise.pipeline.sources.mqtt import MqttSource, MqttSourceSettings
from edgewise.testing.broker import Mosquitto

pytestmark = pytest.mark.broker

CLOCK = SystemClock()
GO = b'{"go": 1}'


def source(mosquitto: Mosquitto, *topics: str, **settings: Any) -> MqttSource:
    broker = MqttSettings(mosquitto.host, mosquitto.port)
    return MqttSource("house", MqttSourceSettings(topics, broker, **settings), clock=CLOCK)


def say(mosquitto: Mosquitto, *messages: tuple[str, bytes], retain: bool = False) -> None:
    publish.multiple(
        [{"topic": topic, "payload": payload, "qos": 1, "retain": retain} for topic, payload in messages],
        hostname=mosquitto.host,
        port=mosquitto.port,
    )


def listening(mosquitto: Mosquitto, heard: MqttSource) -> Iterator[Reading]:
    """Its readings, once it listens: a retained message, which comes with the subscription, has come."""
    say(mosquitto, ("go", GO), retain=True)
    readings = heard.read()
    assert next(readings).values == {"go": 1}
    return readings


def test_json_words_and_numbers_become_channels(mosquitto: Mosquitto) -> None:
    heard = source(mosquitto, "house/+/state", "weather/#", "go", retained=True)
    readings = listening(mosquitto, heard)
    say(
        mosquitto,
        ("house/kitchen/state", b'{"air": {"humidity": 40, "co2": null}, "doors": [true, false]}'),
        ("house/hall/state", b"21.5"),
        ("weather/wind/speed", b"3"),
        ("house/attic/state", b"ON"),
        ("weather/rain", b"NaN"),
    )
    assert [reading.values for reading in islice(readings, 5)] == [
        {"kitchen.air.humidity": 40, "kitchen.air.co2": None, "kitchen.doors.0": True, "kitchen.doors.1": False},
        {"hall.state": 21.5},
        {"wind.speed": 3},
        {"attic.state": "ON"},
        {"rain": None},
    ]
    heard.close()


def test_wanted_values_are_picked_and_carry_the_time_they_were_measured_at(mosquitto: Mosquitto) -> None:
    heard = source(
        mosquitto, "air", "go", values={"humidity": "air.hum", "co2": "air.co2", "go": "go"}, time="at", retained=True
    )
    say(mosquitto, ("go", b'{"go": 1, "at": 1767225600}'), retain=True)
    readings = heard.read()
    next(readings)
    say(
        mosquitto,
        ("air", b'{"air": {"hum": 40, "temp": 7}, "at": "2026-01-01T00:00:01Z"}'),
        ("air", b'{"air": {"hum": 41}, "at": 1767225602000}'),
    )
    first, second = islice(readings, 2)
    assert first.values == {"humidity": 40, "co2": None, "go": None}
    assert (first.time_ns, second.time_ns) == (1_767_225_601_000_000_000, 1_767_225_602_000_000_000)
    heard.close()


@pytest.mark.parametrize("payload", [b"{broken", b"", b"\xff\xfe", b"{}", b'{"a": 1', b"[" * 40 + b"]" * 40])
def test_what_is_no_reading_is_counted_and_the_next_is_taken(mosquitto: Mosquitto, payload: bytes) -> None:
    heard = source(mosquitto, "air", "go", retained=True)
    readings = listening(mosquitto, heard)
    say(mosquitto, ("air", payload), ("air", b"7"))
    assert next(readings).values == {"air": 7}
    assert heard.unreadable == 1
    heard.close()


def test_what_was_published_while_the_node_was_away_comes_when_it_is_back(mosquitto: Mosquitto) -> None:
    before = source(mosquitto, "air", "go", retained=True)
    readings = listening(mosquitto, before)
    say(mosquitto, ("air", b"1"), ("air", b"2"))
    assert next(readings).values == {"air": 1}
    before.close()
    say(mosquitto, *(("air", str(number).encode()) for number in range(3, 10)))
    after = source(mosquitto, "air", "go", retained=True)
    came = [reading.values["air"] for reading in islice(after.read(), 8 + 1)]
    after.close()
    # The one that the pipeline was handed and never asked beyond is not acknowledged, and comes again.
    assert came == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_slow_pipeline_leaves_messages_at_the_broker_and_loses_none(mosquitto: Mosquitto) -> None:
    heard = source(mosquitto, "air", "go", retained=True, queue=5)
    readings = listening(mosquitto, heard)
    say(mosquitto, *(("air", str(number).encode()) for number in range(100)))
    assert [reading.values["air"] for reading in islice(readings, 100)] == list(range(100))
    assert heard.dropped == 0
    heard.close()


def test_it_goes_on_after_the_broker_was_started_again(mosquitto: Mosquitto) -> None:
    heard = source(mosquitto, "air", "go", retained=True)
    readings = listening(mosquitto, heard)
    say(mosquitto, ("air", b"1"))
    assert next(readings).number == 2
    mosquitto.stop()
    with pytest.raises(UnavailableError) as caught:
        next(readings)
    assert caught.value.hint
    with pytest.raises(UnavailableError, match="cannot be reached"):
        next(heard.read())
    mosquitto.start()
    readings = listening(mosquitto, heard)
    say(mosquitto, ("air", b"2"))
    assert next(readings).number == 4
    heard.close()


def test_what_the_broker_kept_from_before_is_left_out_unless_it_is_wanted(mosquitto: Mosquitto) -> None:
    say(mosquitto, ("air", b"1"), retain=True)
    heard = source(mosquitto, "air", "+/now", session_expiry_s=0)
    readings = heard.read()
    thread_sees = []
    wait_until_subscribed(mosquitto, lambda: say(mosquitto, ("air/now", b"2")), readings, thread_sees)
    assert thread_sees == [{"air.now": 2}]
    heard.close()


def wait_until_subscribed(
    mosquitto: Mosquitto, speak: Callable[[], None], readings: Iterator[Reading], seen: list[Any]
) -> None:
    """Speaks until it is heard."""
    import threading

    heard = threading.Event()

    def hear() -> None:
        seen.append(next(readings).values)
        heard.set()

    thread = threading.Thread(target=hear)
    thread.start()
    while not heard.wait(0.05):
        speak()
    thread.join()


@pytest.mark.parametrize("topic", ["house/k+", "house/#/state", "#air", ""])
def test_filters_that_are_none_are_refused(topic: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError)):
        msgspec.convert({"kind": "mqtt", "topics": [topic]}, MqttSourceSettings)


class TestSettings:
    def write(self, folder: Path, text: str) -> Path:
        file = folder / "edgewise.yaml"
        file.write_text(text)
        return file

    def test_a_source_listens_to_the_nodes_broker_under_a_name_of_its_own(self, tmp_path: Path) -> None:
        file = self.write(
            tmp_path,
            "node: {name: home}\nmqtt: {host: broker, password_file: secret}\n"
            "pipelines:\n  air: {source: {kind: mqtt, topics: [air]}}\n"
            "  wind: {source: {kind: mqtt, topics: [wind], broker: {host: other, ca_file: ca.pem}}}\n",
        )
        pipelines = load(file, environment={}).pipelines
        air, wind = (pipelines[name].source for name in ("air", "wind"))
        assert isinstance(air, MqttSourceSettings)
        assert isinstance(wind, MqttSourceSettings)
        assert air.broker == MqttSettings(
            "broker", password_file=str(tmp_path / "secret"), client_id="edgewise-home-air"
        )
        assert wind.broker == MqttSettings("other", ca_file=str(tmp_path / "ca.pem"), client_id="edgewise-home-wind")

    def test_without_any_broker_the_settings_are_refused_with_what_to_add(self, tmp_path: Path) -> None:
        file = self.write(tmp_path, "pipelines:\n  air: {source: {kind: mqtt, topics: [air]}}\n")
        with pytest.raises(SettingsError, match=r"line 2, pipelines\.air\.source") as caught:
            load(file, environment={})
        assert "mqtt: {host:" in caught.value.hint
