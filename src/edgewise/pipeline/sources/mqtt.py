"""Readings that sensors publish on an MQTT broker (MQTT 5, by Eclipse Paho)."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise._lib.secrets import read_secret
from edgewise.errors import SettingsError, UnavailableError
from edgewise.pipeline.base import Value
from edgewise.pipeline.instants import Instants, TimeFormat
from edgewise.pipeline.intake import MAX_TEXT, Capacity, Channel, IntakeSource, Session, clean, flatten
from edgewise.pipeline.sinks.mqtt import MqttSettings, encryption

if TYPE_CHECKING:
    import paho.mqtt.client as paho

# A larger message is no reading, and the broker is told not to send it.
_MAX_PACKET_BYTES = 256 * 1024
_CONNECT_TIMEOUT_S = 5.0
# MQTT 5, 3.8.3.1, Retain Handling: send retained messages when the subscription is new; never.
_RETAINED_WHEN_NEW, _RETAINED_NEVER = 1, 2


class MqttSourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mqtt"):
    """Topics of a broker.

    A payload is JSON, or one plain number or word. Values inside JSON become channels by their way through it:
    ``{"air": {"humidity": 40}}`` gives ``air.humidity``. A plain payload is named by the last level of its topic. What
    the wildcards of the filter stood for is put before the name: ``house/+/state`` and a message on
    ``house/kitchen/state`` give ``kitchen.air.humidity``.

    Attributes:
        topics: Topic filters, with ``+`` and ``#``.
        broker: Where they are; null is the broker of the node's section ``mqtt``.
        values: Channels that are wanted, each with its way through the JSON, such as ``{humidity: air.humidity}``;
            empty takes all. One that is missing in a message is null.
        time: Way through the JSON to the time it was measured at; empty is when it came.
        time_format: See ``docs/sources.md``.
        zone: Of times that carry none.
        retained: Takes also what the broker kept of each topic from before; it carries no age.
        qos: 0 takes what comes; 1 has the broker keep what comes while the node is away, and send it again until a
            pipeline took it.
        session_expiry_s: How long the broker keeps messages for a node that is away (``qos: 1``).
        queue: Messages that wait at most to be worked on.
    """

    topics: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=1024)], ...], Meta(min_length=1, max_length=64)
    ]
    broker: MqttSettings | None = None
    values: Annotated[dict[Channel, Channel], Meta(max_length=1024)] = {}
    time: Annotated[str, Meta(max_length=128)] = ""
    time_format: TimeFormat = "auto"
    zone: str = "UTC"
    retained: bool = False
    qos: Annotated[int, Meta(ge=0, le=1)] = 1
    session_expiry_s: Annotated[int, Meta(ge=0, le=30 * 86400)] = 3600
    queue: Capacity = 1024

    def __post_init__(self) -> None:
        for topic in self.topics:
            _check_filter(topic)
        Instants(self.time_format, self.zone)


class MqttSource(IntakeSource):
    """Listens to topics. Keeps the ``Source`` seam. What came waits in order; past ``queue`` newer messages push out
    older ones (``qos: 0``) or stay at the broker (``qos: 1``), which also keeps what comes after ``close``, for
    ``session_expiry_s``.
    """

    Settings = MqttSourceSettings

    def __init__(self, name: str, settings: MqttSourceSettings, *, clock: Clock) -> None:
        super().__init__(name, settings.queue, clock=clock)
        self._settings = settings
        self._instants = Instants(settings.time_format, settings.zone)

    def _session(self, session: Session) -> None:
        broker = self._settings.broker
        if broker is None:
            raise SettingsError(
                f"No broker is named for {self.name!r}", hint="Add a section: mqtt: {host: 127.0.0.1}", field="mqtt"
            )
        connection = _Connection(self._settings, broker, session, take=self._take, forget=self._intake.forget)
        connection.run(broker.client_id or f"edgewise-{self.name}")

    def _take(self, session: Session, message: paho.MQTTMessage, acknowledge: Any) -> None:
        if message.retain and not self._settings.retained:
            acknowledge()
            return
        try:
            values, time_ns = self._decode(message.topic, bytes(message.payload))
        except ValueError:
            session.count_unreadable()
            acknowledge()
            return
        if message.qos:
            session.lend(values, time_ns=time_ns, taken=acknowledge)
        else:
            session.put(values, time_ns=time_ns)

    def _decode(self, topic: str, payload: bytes) -> tuple[Mapping[str, Value], int | None]:
        decoded = _parse(payload)
        before, last = name_of(topic, self._settings.topics)
        if not isinstance(decoded, dict | list):
            name = ".".join(part for part in (before, last) if part)
            return flatten(decoded, name), None
        found = flatten(decoded, "")
        time_ns = self._instants.parse(found.pop(self._settings.time, None)) if self._settings.time else None
        wanted = self._settings.values
        if not found or (wanted and not found.keys() & set(wanted.values())):
            raise ValueError("none of the wanted values is in it")
        if wanted:
            found = {channel: found.get(way) for channel, way in wanted.items()}
        return {f"{before}.{channel}" if before else channel: value for channel, value in found.items()}, time_ns


class _Connection:
    """One connection to a broker, in the thread that calls ``run``."""

    def __init__(
        self, settings: MqttSourceSettings, broker: MqttSettings, session: Session, *, take: Any, forget: Any
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._session = session
        self._take = take
        self._forget = forget
        self._problem = ""
        self._lost = threading.Event()

    def run(self, client_id: str) -> None:
        client = self._make_client(client_id)
        where = f"MQTT broker {self._broker.host}:{self._broker.port}"
        try:
            self._connect(client)
            client.loop_start()  # its own thread alone writes; acknowledgements come from the reader's
            self._session.on_stop(self._lost.set)
            self._lost.wait()
            client.disconnect()
        except (OSError, ValueError) as error:
            raise UnavailableError(
                f"The {where} cannot be reached: {error}", hint="Is it running, and mqtt.host right?"
            ) from error
        finally:
            client.loop_stop()
        if not self._session.stopped.is_set():
            raise UnavailableError(
                f"The {where} {self._problem or 'broke off'}",
                hint="Check its log, and mqtt.username." if self._problem else "It is connected again.",
            )

    def _make_client(self, client_id: str) -> paho.Client:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._broker.username:
            file = self._broker.password_file
            secret = read_secret(file, what="mqtt.password_file") if file else None
            client.username_pw_set(self._broker.username, secret)
        if self._broker.tls:
            client.tls_set_context(encryption(self._broker.ca_file))
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = lambda *_: self._lost.set()
        return client

    def _connect(self, client: paho.Client) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = _MAX_PACKET_BYTES
        properties.ReceiveMaximum = min(self._settings.queue, 65535)
        if self._settings.qos:
            properties.SessionExpiryInterval = self._settings.session_expiry_s
        client.connect(
            self._broker.host,
            self._broker.port,
            keepalive=self._broker.keep_alive_s,
            clean_start=self._settings.qos == 0,
            properties=properties,
        )

    def _on_connect(self, client: paho.Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        if reason.is_failure:
            self._problem = f"refused the connection: {reason}"
            self._lost.set()
            return
        if flags.session_present:
            self._forget()  # what was not acknowledged comes again
        retained = _RETAINED_WHEN_NEW if self._settings.retained else _RETAINED_NEVER
        options = SubscribeOptions(qos=self._settings.qos, retainHandling=retained)
        client.subscribe([(topic, options) for topic in self._settings.topics])

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [topic for topic, reason in zip(self._settings.topics, reasons, strict=True) if reason.is_failure]
        if refused:
            self._problem = f"refused the subscription to {', '.join(refused)}"
            self._lost.set()

    def _on_message(self, client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if not self._session.stopped.is_set():  # else it stays at the broker
            self._take(self._session, message, lambda: client.ack(message.mid, message.qos))


def name_of(topic: str, filters: tuple[str, ...]) -> tuple[str, str]:
    """What a message's channels are called.

    Returns:
        What the wildcards of the filter that it fits stood for, joined by dots, and the last level of its topic, empty
        when a wildcard stood for that too.
    """
    for each in filters:
        stood_for = _match(topic.split("/"), each.split("/"))
        if stood_for is not None:
            ends_wild = each.endswith(("+", "#"))
            return ".".join(stood_for), "" if ends_wild and stood_for else topic.rpartition("/")[2]
    return "", topic.rpartition("/")[2]


def _match(levels: list[str], pattern: list[str]) -> list[str] | None:
    stood_for: list[str] = []
    for place, wanted in enumerate(pattern):
        if wanted == "#":
            return stood_for + levels[place:]
        if place >= len(levels) or wanted not in {"+", levels[place]}:
            return None
        if wanted == "+":
            stood_for.append(levels[place])
    return stood_for if len(levels) == len(pattern) else None


def _parse(payload: bytes) -> Any:
    """JSON, or the text itself where it is a plain word."""
    text = payload.decode("utf-8").strip()
    if not text or "\0" in text:
        raise ValueError("the payload is empty or binary")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        if text[0] in "{[" or len(text) > MAX_TEXT:
            raise
    try:
        number = float(text)
    except ValueError:
        return clean(text)
    return number if math.isfinite(number) else None


def _check_filter(topic: str) -> None:
    levels = topic.split("/")
    for place, level in enumerate(levels):
        wild = "+" in level or "#" in level
        if (wild and len(level) > 1) or (level == "#" and place + 1 < len(levels)) or "\0" in level:
            raise ValueError(f"{topic!r} is no topic filter: + stands for a whole level, # for the rest")
