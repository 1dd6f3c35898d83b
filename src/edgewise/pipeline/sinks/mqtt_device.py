"""Real devices at an MQTT broker.

A device has a base topic. Commands go to ``TOPIC/set`` and its states come from ``TOPIC/state``, in the words of Home
Assistant's MQTT integrations (lock: ``LOCK``, ``UNLOCK``, ``LOCKED``, ``UNLOCKED``; light: JSON with ``state``,
``brightness`` in percent and ``color_temp`` in kelvin; climate: the temperature; siren: ``ON``, ``OFF``);
``TOPIC/availability`` says ``online`` or ``offline``.

A command is done when the device reports the state that was asked for; where an earlier command may still be under way,
only a new report counts, no retained one.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import UnavailableError
from edgewise.pipeline.kinds import (
    AlarmState,
    Clear,
    Command,
    DeviceSettings,
    LightState,
    Lock,
    LockState,
    Raise,
    SetTemperature,
    State,
    ThermostatState,
    TurnOff,
    TurnOn,
    Unlock,
    confirms,
    kind_name,
)

if TYPE_CHECKING:
    from edgewise.pipeline.devices import Listener
    from edgewise.pipeline.sinks.mqtt import Broker, Message

logger = logging.getLogger(__name__)


class MqttDevice:
    """One device at a broker. Keeps the ``Device`` seam; made by ``Broker.device``."""

    def __init__(self, name: str, settings: DeviceSettings, broker: Broker) -> None:
        self.name = name
        self.settings = settings
        self._broker = broker
        self._reported: State | None = None
        self._online = True
        self._problem = ""
        self._reports = 0
        self._doubtful = False
        self._changed = threading.Condition()
        self._listeners: list[Listener] = []

    @property
    def state(self) -> dict[str, Any]:
        """The state it reported last; ``problem`` says why it is not available."""
        with self._changed:
            known = {"kind": kind_name(self.settings), "state": "unknown"}
            if self._reported is not None:
                known = msgspec.to_builtins(self._reported)
            problem = self._unavailable()
            return {**known, "available": not problem, **({"problem": problem} if problem else {})}

    def apply(self, command: Command, *, key: str, expires_ns: int) -> None:
        """Sends a command and waits for the state it leads to; see ``Device``."""
        if not self._online:
            raise UnavailableError(f"{self.name} is offline", device=self.name, sent=False)
        wait_s = self.settings.confirm_s
        topic = f"{self.settings.topic}/set"
        with self._changed:
            after = self._reports if self._doubtful else -1
        try:
            self._broker.send(topic, encode(command), key=key, expires_ns=expires_ns, timeout_s=wait_s)
        except UnavailableError as error:
            self._doubtful = self._doubtful or error.facts.get("sent") is not False
            raise
        with self._changed:
            self._doubtful = not self._changed.wait_for(
                lambda: self._reports > after and confirms(self._reported, command), wait_s
            )
            if self._doubtful:
                raise UnavailableError(
                    f"{self.name} did not confirm {type(command).__name__.lower()} in {wait_s:g} s",
                    hint=f"It should report its state on {self.settings.topic}/state.",
                    device=self.name,
                    sent=True,
                )

    def subscribe(self, listener: Listener) -> None:
        """Calls it after every change."""
        self._listeners.append(listener)

    def close(self) -> None:
        """The broker is closed on its own."""

    def take_state(self, message: Message) -> None:
        """Takes a message of ``TOPIC/state``."""
        with self._changed:
            before = self._reported, self._problem
            try:
                self._reported, self._problem = decode(self.settings, message.payload), ""
                self._reports += not message.retained
            except ValueError as error:
                self._problem = f"{message.topic}: {error}"
                logger.warning("%s: cannot read %s", self.name, self._problem)
            changed = before != (self._reported, self._problem)
            self._changed.notify_all()
        if changed:
            self._tell()

    def take_availability(self, message: Message) -> None:
        """Takes a message of ``TOPIC/availability``."""
        online = message.payload.strip().lower() != b"offline"
        with self._changed:
            changed, self._online = self._online != online, online
        if changed:
            self._tell()

    def connection_changed(self) -> None:
        """The broker came or went: what it said of the device's availability is void."""
        with self._changed:
            self._online = True
        self._tell()

    def _unavailable(self) -> str:
        if not self._broker.connected:
            return f"the MQTT broker is not connected{': ' * bool(self._broker.problem)}{self._broker.problem}"
        if not self._online:
            return "it is offline"
        if self._problem:
            return self._problem
        return "" if self._reported is not None else "it has not reported its state"

    def _tell(self) -> None:
        state = self.state
        for listener in self._listeners:
            listener(self.name, state)


def encode(command: Command) -> bytes:
    """A command as the payload of ``TOPIC/set``."""
    match command:
        case Lock():
            return b"LOCK"
        case Unlock():
            return b"UNLOCK"
        case SetTemperature():
            return f"{command.temperature_c:g}".encode()
        case TurnOn():
            wanted = {"brightness": command.brightness, "color_temp": command.colour_temp_k}
            return msgspec.json.encode({"state": "ON", **{k: v for k, v in wanted.items() if v is not None}})
        case Raise():
            return msgspec.json.encode({"state": "ON", "reason": command.reason})
        case TurnOff() | Clear():
            return b'{"state":"OFF"}'


def decode(settings: DeviceSettings, payload: bytes) -> State:
    """A payload of ``TOPIC/state``, plain or JSON, as a state.

    Raises:
        ValueError: It is not one of this kind of device.
    """
    text = payload.decode("utf-8").strip()
    said = msgspec.json.decode(text, type=dict[str, Any]) if text.startswith("{") else {"state": text}
    word = str(said.get("state", ""))
    match kind_name(settings):
        case "lock":
            return LockState(_choose(word, {"LOCKED": "locked", "UNLOCKED": "unlocked"}))
        case "alarm":
            return AlarmState(_choose(word, {"ON": "raised", "OFF": "clear"}), str(said.get("reason", ""))[:200])
        case "thermostat":
            wanted = {"temperature_c": float(said.get("temperature", word))}
            return msgspec.convert(wanted, ThermostatState)
        case _:
            known = {"brightness": said.get("brightness"), "colour_temp_k": said.get("color_temp")}
            state = {"kind": "light", "state": _choose(word, {"ON": "on", "OFF": "off"})}
            return msgspec.convert({**state, **{k: v for k, v in known.items() if v is not None}}, LightState)


def _choose(word: str, words: dict[str, Any]) -> Any:
    if word.upper() not in words:
        raise ValueError(f"{word!r} is none of {', '.join(words)}")
    return words[word.upper()]
