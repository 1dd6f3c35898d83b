"""Devices that act: lock, light, thermostat, alarm."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Celsius = Annotated[float, Meta(ge=-50, le=100)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Kelvin = Annotated[int, Meta(ge=1000, le=20000)]
Topic = Annotated[str, Meta(pattern=r"^[^#+\x00]*$", max_length=256)]


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What all kinds share.

    Attributes:
        topic: Base MQTT topic of a real device (``TOPIC/set``, ``TOPIC/state``, ``TOPIC/availability``); empty for a
            virtual one.
        confirm_s: Seconds a real device has to confirm a command by its state.
    """

    topic: Topic = ""
    confirm_s: Annotated[float, Meta(gt=0, le=60)] = 3.0


class LockSettings(_Settings, frozen=True, tag="lock", kw_only=True):
    """A lock.

    Attributes:
        relock_s: Locks again this long after it was unlocked; 0 never does.
        fail_safe: Where it goes when the node stops.
    """

    relock_s: Annotated[float, Meta(ge=0, le=86400)] = 5.0
    fail_safe: Literal["locked", "unlocked"] = "locked"


class LightSettings(_Settings, frozen=True, tag="light", kw_only=True):
    """A light.

    Attributes:
        fail_safe: Where it goes when the node stops; ``keep`` leaves it.
    """

    fail_safe: Literal["keep", "on", "off"] = "keep"


class ThermostatSettings(_Settings, frozen=True, tag="thermostat", kw_only=True):
    """A thermostat.

    Attributes:
        min_c: Lowest temperature it takes.
        max_c: Highest temperature it takes.
        fail_safe_c: Where it goes when the node stops; ``null`` leaves it.
    """

    min_c: Celsius = 5.0
    max_c: Celsius = 30.0
    fail_safe_c: Celsius | None = None


class AlarmSettings(_Settings, frozen=True, tag="alarm", kw_only=True):
    """An alarm.

    Attributes:
        fail_safe: Where it goes when the node stops; ``keep`` leaves a raised alarm raised.
    """

    fail_safe: Literal["keep", "clear", "raised"] = "keep"


DeviceSettings: TypeAlias = LockSettings | LightSettings | ThermostatSettings | AlarmSettings
