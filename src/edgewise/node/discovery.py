"""What Home Assistant is told of a node: one retained message for each entity, in the words of its MQTT discovery.

Pure: names in, topics and payloads out. One message per entity rather than one per device, because every release of
Home Assistant since 2023.8 reads those. Entities of one device are grouped by its ``device`` block, and all devices
hang under the node's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edgewise import __version__
from edgewise.pipeline.kinds import (
    AlarmSettings,
    AlarmState,
    DeviceSettings,
    LightSettings,
    LightState,
    LockSettings,
    LockState,
    State,
    ThermostatSettings,
    ThermostatState,
)

# Kinds of event that a pipeline is expected to see; others are added to its entity when they are seen first.
EVENT_KINDS = (
    *("face.known", "face.unknown"),
    *("object.appeared", "object.left", "object.loitering"),
    *("zone.entered", "zone.left", "line.crossed"),
    *("motion.started", "motion.ended"),
    *("voice.wake", "voice.command"),
)
# Seconds after the last event when a camera counts as quiet again.
QUIET_S = 30
_MIRED = 1_000_000
_MIN_KELVIN, _MAX_KELVIN = 2000, 6500


class HomeAssistantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Home Assistant at the broker of ``mqtt``.

    Attributes:
        discovery_prefix: As in Home Assistant's own MQTT settings.
        snapshot_s: Seconds between the pictures of a camera; 0 sends none.
        snapshot_width: Pixels; larger pictures are made smaller.
        units: Unit of a reading by its channel, such as ``{temperature: °C}``.
    """

    discovery_prefix: Annotated[str, Meta(pattern=r"^[^#+\x00]+$", max_length=128)] = "homeassistant"
    snapshot_s: Annotated[float, Meta(ge=0, le=86400)] = 10.0
    snapshot_width: Annotated[int, Meta(ge=64, le=1920)] = 640
    units: dict[str, Annotated[str, Meta(max_length=16)]] = {}


class Entity(msgspec.Struct, frozen=True):
    """One entity: where its discovery is told, and what."""

    topic: str
    payload: dict[str, Any]

    @property
    def states(self) -> list[str]:
        """Topics on which something is retained of it."""
        told = [
            str(value)
            for key, value in self.payload.items()
            if key in {"state_topic", "temperature_state_topic", "json_attributes_topic"}
        ]
        return told + [each["topic"] for each in self.payload.get("availability", [])[1:]]


class Describer:
    """Describes the entities of a node.

    Args:
        settings: Prefix and units.
        node: Name of the node.
        base: First levels of the node's own topics, such as ``edgewise/edgewise-home``.
    """

    def __init__(self, settings: HomeAssistantSettings, *, node: str, base: str) -> None:
        self._settings = settings
        self._node = node
        self.base = base

    def device(self, name: str, settings: DeviceSettings) -> Entity:
        """A lock, light, thermostat or alarm. Its commands go to the node, which settles who may command it."""
        topic = f"{self.base}/device/{name}"
        shared = {
            "name": None,
            "command_topic": f"{topic}/set",
            "state_topic": f"{topic}/state",
            "json_attributes_topic": f"{topic}/attributes",
            "availability": [{"topic": f"{self.base}/status"}, {"topic": f"{topic}/availability"}],
            "availability_mode": "all",
            # At most once: Home Assistant gives no key by which a doubled message could be told.
            "qos": 0,
            "retain": False,
            "optimistic": False,
        }
        match settings:
            case LockSettings():
                return self._entity("lock", f"device_{name}", name, shared)
            case LightSettings():
                light = {
                    "schema": "json",
                    "brightness": True,
                    "brightness_scale": 100,
                    "color_mode": True,
                    "supported_color_modes": ["color_temp"],
                    "min_mireds": _MIRED // _MAX_KELVIN,
                    "max_mireds": _MIRED // _MIN_KELVIN,
                }
                return self._entity("light", f"device_{name}", name, {**shared, **light})
            case ThermostatSettings():
                return self._entity("climate", f"device_{name}", name, _thermostat(settings, shared))
            case AlarmSettings():
                siren = {"support_duration": False, "support_volume_set": False}
                return self._entity("siren", f"device_{name}", name, {**shared, **siren})

    def camera(self, name: str) -> Iterator[Entity]:
        """The picture of a camera, and whether something goes on there."""
        topic = f"{self.base}/camera/{name}"
        if self._settings.snapshot_s:
            yield self._entity(
                "camera", f"camera_{name}", name, {"name": None, "topic": f"{topic}/image", **self._here()}
            )
        activity = {
            "name": "Activity",
            "state_topic": f"{topic}/activity",
            "device_class": "occupancy",
            "off_delay": QUIET_S,
            **self._here(),
        }
        yield self._entity("binary_sensor", f"activity_{name}", name, activity)

    def events(self, name: str, kinds: Iterable[str]) -> Entity:
        """What a pipeline sees."""
        payload = {
            "name": "Events",
            "state_topic": f"{self.base}/camera/{name}/event",
            "event_types": sorted(kinds),
            "qos": 1,
            **self._here(),
        }
        return self._entity("event", f"events_{name}", name, payload)

    def channel(self, source: str, channel: str, *, binary: bool, number: bool) -> Entity:
        """One channel of readings."""
        payload: dict[str, Any] = {"name": channel, "state_topic": self.channel_topic(source, channel), **self._here()}
        if number and not binary:
            payload["state_class"] = "measurement"
            if unit := self._settings.units.get(channel, ""):
                payload["unit_of_measurement"] = unit
        component = "binary_sensor" if binary else "sensor"
        return self._entity(component, f"reading_{source}_{slug(channel)}", source, payload)

    def channel_topic(self, source: str, channel: str) -> str:
        """Where the values of a channel are told."""
        return f"{self.base}/reading/{source}/{slug(channel)}"

    def model(self, name: str) -> Entity:
        """The version of a model, and whether there is a newer one."""
        payload = {
            "name": f"Model {name}",
            "title": name,
            "state_topic": f"{self.base}/model/{name}",
            "entity_category": "diagnostic",
            **self._here(),
        }
        return self._entity("update", f"model_{slug(name)}", "", payload)

    def _here(self) -> dict[str, Any]:
        return {"availability_topic": f"{self.base}/status"}

    def _entity(self, component: str, thing: str, device: str, payload: Mapping[str, Any]) -> Entity:
        """Args: ``device`` is the part of the node that it belongs to; empty for the node itself."""
        node_id = f"edgewise_{slug(self._node)}"
        block: dict[str, Any] = {"identifiers": [node_id], "name": self._node, "model": "node"}
        if device:
            block = {
                "identifiers": [f"{node_id}_{slug(device)}"],
                "name": device,
                "model": component if thing.startswith("device_") else "source",
                "via_device": node_id,
            }
        return Entity(
            f"{self._settings.discovery_prefix}/{component}/{node_id}/{thing}/config",
            {
                **payload,
                "unique_id": f"{node_id}_{thing}",
                "device": {**block, "manufacturer": "Edgewise", "sw_version": __version__},
                "origin": {"name": "Edgewise", "sw_version": __version__},
            },
        )


def _thermostat(settings: ThermostatSettings, shared: Mapping[str, Any]) -> dict[str, Any]:
    topic = str(shared["state_topic"])
    rest = {key: value for key, value in shared.items() if key not in {"command_topic", "state_topic", "optimistic"}}
    return {
        **rest,
        "modes": ["heat"],
        "mode_state_topic": topic,
        "mode_state_template": "{{ value_json.mode }}",
        "temperature_command_topic": shared["command_topic"],
        "temperature_state_topic": topic,
        "temperature_state_template": "{{ value_json.temperature }}",
        "temperature_unit": "C",
        "min_temp": settings.min_c,
        "max_temp": settings.max_c,
        "temp_step": 0.5,
    }


def slug(text: str) -> str:
    """A name that may stand in a topic and an id; names that differ stay different."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return plain if plain == text else f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def encode_state(state: State) -> bytes:
    """The state of a device as its entity reads it."""
    match state:
        case LockState():
            return state.state.upper().encode()
        case LightState():
            facts = {
                "state": state.state.upper(),
                "brightness": state.brightness,
                "color_mode": "color_temp",
                "color_temp": round(_MIRED / state.colour_temp_k),
            }
            return msgspec.json.encode(facts)
        case ThermostatState():
            return msgspec.json.encode({"temperature": state.temperature_c, "mode": "heat"})
        case AlarmState():
            return b'{"state":"ON"}' if state.state == "raised" else b'{"state":"OFF"}'


def parse_order(settings: DeviceSettings, payload: bytes) -> tuple[str, dict[str, Any]]:
    """A payload that Home Assistant sent, as a command and its arguments.

    Raises:
        ValueError: It is none for this kind of device.
    """
    text = payload.decode("utf-8").strip()
    said: Any = msgspec.json.decode(text) if text.startswith("{") else {"state": text}
    word = str(said.get("state", "")).upper()
    words: dict[type[DeviceSettings], dict[str, str]] = {
        LockSettings: {"LOCK": "lock", "UNLOCK": "unlock"},
        LightSettings: {"ON": "turn_on", "OFF": "turn_off"},
        AlarmSettings: {"ON": "raise", "OFF": "clear"},
    }
    if isinstance(settings, ThermostatSettings):
        return "set_temperature", {"temperature_c": float(word)}
    if word not in words[type(settings)]:
        raise ValueError(f"{text[:64]!r} is no command for it")
    command = words[type(settings)][word]
    arguments: dict[str, Any] = {}
    if command == "turn_on":
        if "brightness" in said:
            arguments["brightness"] = max(1, round(said["brightness"]))
        if said.get("color_temp"):
            arguments["colour_temp_k"] = round(_MIRED / said["color_temp"])
    return command, arguments | ({"reason": "Home Assistant"} if command == "raise" else {})
