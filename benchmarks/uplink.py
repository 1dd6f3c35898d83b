"""The way to the parent, against the usual one: a JSON message for each reading, by MQTT with QoS 1.

A device of eight thermometers (once a second each, two decimals, a random walk). Its readings go up to a real node over
TLS, each request proved, each accepted by an fsync; beside it the same readings as messages to a real Mosquitto with
persistence on and a durable subscriber, by paho, as many under way as it likes, without TLS. Both go through a proxy
that counts the bytes of both directions (TCP and IP are not counted, which spares MQTT most: it sends far more
packets).

* **bytes** a reading, for so many readings in a request: ``gather_s`` times what the device measures in a second.
  Asked: at most a twentieth of MQTT's.
* **rate**: readings a second from the device's disk to the parent's, and from the client to Mosquitto's
  acknowledgement. Asked: ten times.
* **catch-up**: a day of it (691,200 readings), measured while the parent was away. Asked: 50,000 readings a second.

Run: ``python -m benchmarks.uplink [--seconds 5]``
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgewise import __version__
from edgewise._lib.clock import SystemClock
from edgewise.journal.base import StreamSettings
from edgewise.journal.disk import DiskJournal
from edgewise.link.base import UplinkSettings
from edgewise.link.budget import Budget, BudgetSettings
from edgewise.link.membership import LinkFolder
from edgewise.link.spending import Spending
from edgewise.link.uplink import Uplink
from edgewise.testing.broker import Mosquitto
from edgewise.testing.flaky import FlakyLink
from edgewise.testing.node import RunningNode
from edgewise.trust.joining import JoinToken
from edgewise.types import Entry

SENSORS = 8
DAY = SENSORS * 86_400
START_NS = 1_790_000_000_000_000_000
ROOMY = StreamSettings(max_bytes=64 << 30)


def readings() -> Iterator[Entry]:
    """What the thermometers say, one after the other, each second."""
    chance = random.Random(1)
    values = [20.0 + number for number in range(SENSORS)]
    second = 0
    while True:
        for number in range(SENSORS):
            values[number] = round(values[number] + chance.gauss(0, 0.05), 2)
            body = {"source": f"thermometer-{number}", "values": {"temperature": values[number]}}
            yield Entry("reading", body, time_ns=START_NS + second * 10**9)
        second += 1


class Parent:
    """A node that takes children, in a process of its own, behind a proxy that counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "parent"
        self.folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        (self.folder / "edgewise.yaml").write_text(
            f"node: {{name: center, data: data}}\nhttp: {{port: 0}}\nhttps: {{host: 127.0.0.1, port: {port}}}\n"
        )
        self.node = RunningNode(self.folder)
        self.way = FlakyLink(port)

    def token(self) -> JoinToken:
        arguments = [sys.executable, "-m", "edgewise", "token", "create"]
        done = subprocess.run(arguments, cwd=self.folder, capture_output=True, text=True, check=True)
        return JoinToken.parse(done.stdout.strip())


class Device:
    """A journal and its uplink, in this process."""

    def __init__(self, folder: Path, parent: Parent, name: str) -> None:
        clock = SystemClock()
        self.source = readings()
        self.journal = DiskJournal(folder / name, node=name, streams={"readings": ROOMY})
        link = LinkFolder(folder / f"{name}-link")
        member = link.join(
            f"https://127.0.0.1:{parent.way.port}", parent.token(), node=name, journal=self.journal.identity
        )
        credentials = link.credentials(member)
        self.uplink = Uplink(
            self.journal,
            node=name,
            version=__version__,
            connect=lambda: link.client(member, credentials),
            brings=lambda _: False,
            below=tuple,
            settings=UplinkSettings(gather_s=0),
            clock=clock,
            random=random.random,
            spending=Spending(BudgetSettings(), budget=Budget(), keep=lambda _: None, clock=clock),
        )

    def measure(self, count: int, *, at_once: int = 1000) -> None:
        """Takes so many readings into the journal."""
        for start in range(0, count, at_once):
            self.journal.append("readings", [next(self.source) for _ in range(min(at_once, count - start))])

    def sent(self) -> bool:
        """Whether the parent has everything."""
        state = self.uplink.state
        return not state.pending and state.sent_records > 0

    def await_sent(self) -> None:
        while not self.sent():
            time.sleep(0.001)

    def close(self) -> None:
        self.uplink.stop()
        self.journal.close()


class Publisher:
    """A device that sends each reading as a message."""

    def __init__(self, port: int) -> None:
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.max_inflight_messages_set(1000)
        self.client.max_queued_messages_set(0)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def send(self, entries: list[Entry]) -> None:
        """Sends readings and returns when the broker has acknowledged each."""
        waiting = [
            self.client.publish(
                f"plant/hall/{entry.body['source']}",
                msgspec.json.encode({"time": entry.time_ns // 10**6, **entry.body["values"]}),
                qos=1,
            )
            for entry in entries
        ]
        for each in waiting:
            each.wait_for_publish(60)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def subscriber(port: int) -> mqtt.Client:
    """Somebody for whom the broker keeps messages."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="center", protocol=mqtt.MQTTv5)
    properties = mqtt.Properties(mqtt.PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    client.subscribe("plant/#", qos=1)
    client.loop_start()
    return client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        parent = Parent(folder)
        opened.enter_context(parent.node)
        opened.enter_context(parent.way)
        (folder / "mqtt").mkdir()
        broker = opened.enter_context(Mosquitto(folder / "mqtt", persistent=True))
        way = opened.enter_context(FlakyLink(broker.port))
        listening = subscriber(broker.port)
        opened.callback(listening.loop_stop)
        message = compare_bytes(folder, parent, way)
        compare_rates(folder, parent, broker.port, seconds)
        catch_up(folder, parent)
    del message


def compare_bytes(folder: Path, parent: Parent, way: FlakyLink) -> float:
    publisher = Publisher(way.port)
    source = readings()
    publisher.send([next(source) for _ in range(100)])
    before = way.carried
    publisher.send([next(source) for _ in range(4000)])
    message = (way.carried - before) / 4000
    publisher.close()
    print(f"bytes a reading, MQTT QoS 1: {message:.1f}\n")
    print(f"{'readings in a request':>22} {'bytes a reading':>16} {'of MQTT':>9}   (asked: 1/20)")
    for count in (8, 80, 480, 4800, 48_000):
        device = Device(folder, parent, f"bytes-{count}")
        device.measure(count)
        device.uplink.start()
        device.await_sent()
        rounds = 5 if count < 10_000 else 2
        before = parent.way.carried
        for _ in range(rounds):
            device.measure(count, at_once=count)
            device.await_sent()
        size = (parent.way.carried - before) / (rounds * count)
        device.close()
        print(f"{count:>22} {size:>16.2f} {'1/' + format(message / size, '.0f'):>9}")
    return message


def compare_rates(folder: Path, parent: Parent, port: int, seconds: float) -> None:
    publisher = Publisher(port)
    source = readings()
    publisher.send([next(source) for _ in range(1000)])
    count, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        publisher.send([next(source) for _ in range(2000)])
        count += 2000
    mqtt_rate = count / (time.perf_counter() - begun)
    publisher.close()
    device = Device(folder, parent, "rate")
    device.measure(1000)
    device.uplink.start()
    device.await_sent()
    stopped = threading.Event()
    begun, first = time.perf_counter(), device.uplink.state.sent_records
    appended = 1000
    while time.perf_counter() < begun + seconds:
        device.measure(1000)
        appended += 1000
    device.await_sent()
    rate = (device.uplink.state.sent_records - first) / (time.perf_counter() - begun)
    stopped.set()
    device.close()
    print(f"\nreadings a second, Mosquitto with persistence, QoS 1: {mqtt_rate:,.0f}")
    print(
        f"readings a second, measured, on the device's disk and on the parent's: {rate:,.0f}"
        f"   {rate / mqtt_rate:.1f} times (asked: 10)"
    )


def catch_up(folder: Path, parent: Parent) -> None:
    device = Device(folder, parent, "day")
    device.measure(DAY, at_once=80)
    begun = time.perf_counter()
    device.uplink.start()
    device.await_sent()
    took = time.perf_counter() - begun
    device.close()
    print(f"\na day offline, {DAY:,} readings: caught up in {took:.1f} s, {DAY / took:,.0f} a second (asked: 50,000)")


if __name__ == "__main__":
    main()
