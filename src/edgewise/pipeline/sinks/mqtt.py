"""The connection to an MQTT broker (MQTT 5, by Eclipse Paho), for devices and for Home Assistant.

A command is never retained, expires at the broker when the action does, is sent once (a connection that breaks takes
its unsent and unacknowledged messages with it), and carries its idempotency key and expiry as user properties ``key``
and ``expires_ns``. Before it leaves, the broker has to answer: one that hangs would deliver it whenever it comes back.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise._lib.secrets import read_secret
from edgewise.errors import SettingsError, UnavailableError
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.kinds import DeviceSettings

if TYPE_CHECKING:
    import ssl

    import paho.mqtt.client as paho

    from edgewise.pipeline.sinks.mqtt_device import MqttDevice

# A state of a device is a few words. Larger packets are not ours, and the broker is told not to send them.
_MAX_PACKET_BYTES = 64 * 1024
_CONNECT_TIMEOUT_S = 5.0
_QOS = 1
# MQTT 5, 3.4.2.1: the broker took the message, and nobody is there to get it.
_NO_SUBSCRIBERS = 0x10

logger = logging.getLogger(__name__)
# A broker that does not answer at once hangs; a command given to it would arrive late.
_ANSWER_S = 1.0


class Message(NamedTuple):
    """What came from the broker; ``retained`` is set on what was said before we listened."""

    topic: str
    payload: bytes
    retained: bool = False
    key: str = ""
    expires_s: float | None = None


Taker = Callable[[Message], None]


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A broker.

    Attributes:
        host: Name or address.
        port: 1883 plain, 8883 with TLS, by custom.
        username: Empty for none.
        password_file: File whose first line is the password.
        tls: Encrypts, and checks the broker's certificate against ``ca_file`` (empty: the system's authorities).
        ca_file: PEM file of certificate authorities.
        client_id: Unique at the broker; empty for one made of the node's name.
        keep_alive_s: Longest silence before both sides think the other is gone.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    client_id: Annotated[str, Meta(max_length=64)] = ""
    keep_alive_s: Annotated[int, Meta(ge=5, le=3600)] = 30


class Broker:
    """The connection to a broker, kept up by a thread of its own. Safe for threads.

    The topic ``edgewise/CLIENT_ID/status`` says ``online`` while it stands; the broker says ``offline`` there when the
    node dies, so that devices can go where it is safe.

    Attributes:
        base: First two levels of the node's own topics: ``edgewise/CLIENT_ID``.
        problem: Why it is not connected; empty while it is.

    Args:
        settings: Which broker.
        node: Name of the node, for the client id.
        clock: For expiries.
        backoff: How long to wait before connecting again.

    Raises:
        SettingsError: The password or authority file cannot be read.
    """

    def __init__(self, settings: MqttSettings, *, node: str, clock: Clock, backoff: Backoff | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._client_id = settings.client_id or f"edgewise-{node}"
        self.base = f"edgewise/{self._client_id}"
        self._status_topic = f"{self.base}/status"
        self._password = (
            read_secret(settings.password_file, what="mqtt.password_file") if settings.password_file else None
        )
        self._encryption = encryption(settings.ca_file) if settings.tls else None
        self._takers: dict[str, tuple[Taker, int]] = {}
        self._watchers: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._client: paho.Client | None = None
        self._connected = False
        self.problem = ""
        self._acknowledged: dict[int, tuple[int, int]] = {}
        self._acknowledgements = 0
        self._stopping = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._keep_connected, name="mqtt", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and answers."""
        return self._connected

    def device(self, name: str, settings: DeviceSettings) -> MqttDevice:
        """A device of this broker; before ``start``."""
        from edgewise.pipeline.sinks.mqtt_device import MqttDevice

        device = MqttDevice(name, settings, self)
        self.listen(f"{settings.topic}/state", device.take_state)
        self.listen(f"{settings.topic}/availability", device.take_availability)
        self.watch(device.connection_changed)
        return device

    def listen(self, topic: str, taker: Taker, *, qos: int = _QOS) -> None:
        """Calls ``taker`` with what comes on a topic (no filter), in the connection's thread; before ``start``.

        Args:
            topic: Which.
            taker: Must not wait.
            qos: 0 where a message that comes twice is worse than one that is lost.
        """
        self._takers[topic] = taker, qos

    def watch(self, watcher: Callable[[], None]) -> None:
        """Calls ``watcher`` when the connection comes or goes; before ``start``."""
        self._watchers.append(watcher)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 0) -> bool:
        """Says something that is no command. Returns at once; False when there is nobody to say it to."""
        client = self._client
        if client is None or not self._connected:
            return False
        client.publish(topic, payload, qos=qos, retain=retain)
        return True

    def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Says something that is no command; returns whether the broker has taken it. Waits for that, not for long."""
        client = self._client
        if client is None or not self._connected:
            return False
        reason = self._published(client, topic, payload, None, _ANSWER_S, retain=retain)
        return reason is not None and reason < 0x80

    def start(self) -> None:
        """Starts connecting."""
        self._thread.start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Waits until it is connected."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connected, timeout_s)

    def close(self) -> None:
        """Says goodbye and ends the thread."""
        self._stopping.set()
        self._lost.set()
        if self._thread.is_alive():
            self._thread.join()

    def send(self, topic: str, payload: bytes, *, key: str, expires_ns: int, timeout_s: float) -> None:
        """Publishes a command once; returns when the broker has taken it for somebody who listens.

        Raises:
            UnavailableError: It did not arrive. The fact ``sent`` is False when nobody can have got it.
        """
        client = self._client
        if client is None or not self._connected:
            raise UnavailableError(
                f"The MQTT broker {self._settings.host}:{self._settings.port} is not connected",
                hint="Is it running? The node goes on trying.",
                sent=False,
            )
        asked_s, left_s = self._clock.monotonic(), (expires_ns - self._clock.time_ns()) / 1e9
        if self._published(client, f"{self.base}/probe", b"", None, min(timeout_s, _ANSWER_S)) is None:
            raise UnavailableError("The MQTT broker does not answer, so it was given no command", sent=False)
        left_s -= self._clock.monotonic() - asked_s
        if left_s <= 0:
            raise UnavailableError("The command expired while the MQTT broker was asked", sent=False)
        reason = self._published(client, topic, payload, self._properties(key, expires_ns, left_s), timeout_s)
        if reason is None:
            raise UnavailableError(f"The MQTT broker did not acknowledge the command to {topic}", sent=True)
        if reason == _NO_SUBSCRIBERS:
            raise UnavailableError(
                f"No device listens to {topic}", hint="Is it switched on, and its topic right?", topic=topic, sent=False
            )
        if reason >= 0x80:
            raise UnavailableError(f"The MQTT broker refused the command to {topic} (reason {reason})", sent=False)

    def _published(
        self,
        client: paho.Client,
        topic: str,
        payload: bytes,
        properties: Any,
        timeout_s: float,
        *,
        retain: bool = False,
    ) -> int | None:
        """The broker's reason code; None when it did not acknowledge in time, or is gone."""
        before = self._acknowledgements
        info = client.publish(topic, payload, qos=_QOS, retain=retain, properties=properties)

        def reason() -> int | None:
            # Packet identifiers come again after 65,535 messages: that of an earlier one says nothing of this one.
            count, code = self._acknowledged.get(info.mid, (0, 0))
            return code if count > before else None

        with self._changed:
            self._changed.wait_for(lambda: reason() is not None or self._client is not client, timeout_s)
            return reason() if self._client is client else None

    def _properties(self, key: str, expires_ns: int, left_s: float) -> Any:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = max(1, math.floor(left_s))  # whole seconds; 0 would be never sent
        properties.UserProperty = [("key", key), ("expires_ns", str(expires_ns))]
        return properties

    def _keep_connected(self) -> None:
        while not self._stopping.is_set():
            self._lost.clear()
            client = self._make_client()
            try:
                self._connect(client)
                client.loop_start()
                self._lost.wait()
                if self._stopping.is_set() and self._connected:
                    client.publish(self._status_topic, b"offline", qos=0, retain=True)
                    client.disconnect()
            except (OSError, ValueError) as error:
                self.problem = str(error)
                logger.info("MQTT broker %s:%d: %s", self._settings.host, self._settings.port, error)
            finally:
                client.loop_stop()
                self._set_connected(None)
            self._stopping.wait(self._backoff.next())

    def _make_client(self) -> paho.Client:
        """A new client for every connection: one that reconnects would send old commands again."""
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        client = paho.Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=paho.MQTTv5, reconnect_on_failure=False
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._settings.username:
            client.username_pw_set(self._settings.username, self._password)
        if self._encryption is not None:
            client.tls_set_context(self._encryption)
        client.will_set(self._status_topic, b"offline", qos=_QOS, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda *_: self._lost.set()
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _connect(self, client: paho.Client) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = _MAX_PACKET_BYTES
        client.connect(
            self._settings.host,
            self._settings.port,
            keepalive=self._settings.keep_alive_s,
            clean_start=True,
            properties=properties,
        )

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.problem = f"it refused: {reason}"
            logger.warning("MQTT broker %s refused the connection: %s", self._settings.host, reason)
            self._lost.set()
            return
        _hurry(client)
        if self._takers:
            client.subscribe([(topic, qos) for topic, (_, qos) in self._takers.items()])
        client.publish(self._status_topic, b"online", qos=_QOS, retain=True)
        self._backoff.reset()
        self.problem = ""
        self._set_connected(client)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        taker, _ = self._takers.get(message.topic, (None, 0))
        if taker is not None:
            said = dict(getattr(message.properties, "UserProperty", []))
            expires_s = getattr(message.properties, "MessageExpiryInterval", None)
            taker(Message(message.topic, bytes(message.payload), message.retain, said.get("key", ""), expires_s))

    def _on_publish(self, client: paho.Client, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        _hurry(client)
        with self._changed:
            if client is self._client:
                self._acknowledgements += 1
                self._acknowledged[mid] = self._acknowledgements, int(reason.value)
                self._changed.notify_all()

    def _set_connected(self, client: paho.Client | None) -> None:
        with self._changed:
            self._client = client
            self._connected = client is not None
            self._acknowledged.clear()
            self._changed.notify_all()
        for watcher in self._watchers:
            watcher()


def _hurry(client: paho.Client) -> None:
    """Sends what is small at once, and acknowledges at once what came: the broker holds back the state that confirms a
    command until its acknowledgement of the command is acknowledged (Nagle's algorithm), by default 40 ms later.
    """
    connection: Any = client.socket()  # a socket, with TLS or without
    if connection is None:
        return
    with contextlib.suppress(OSError):  # it broke off meanwhile
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_QUICKACK"):  # lasts until the system thinks otherwise
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def encryption(ca_file: str) -> ssl.SSLContext:
    """What checks a broker's certificate: against a file of authorities, or the system's when it is empty.

    Raises:
        SettingsError: The file cannot be used.
    """
    import ssl

    class ClosingSocket(ssl.SSLSocket):
        """Paho leaves a socket open whose handshake failed."""

        def do_handshake(self, block: bool = False) -> None:
            try:
                super().do_handshake(block)
            except BaseException:
                self.close()
                raise

    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        context.sslsocket_class = ClosingSocket
        return context
    except OSError as error:  # ssl's errors are among them
        hint = "It must be a PEM file of certificate authorities."
        raise SettingsError(f"mqtt.ca_file: {ca_file} cannot be used: {error}", hint=hint, file=ca_file) from error
