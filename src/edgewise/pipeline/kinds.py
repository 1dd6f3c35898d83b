"""The kinds of device that act: their settings, states and commands, and what a command does to a state.

Pure: nothing here knows whether the device is virtual or real. A new kind is its settings, its state, its commands and
one row in ``KINDS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Meta

from edgewise._lib.documents import nearest
from edgewise.errors import InputError, NotFoundError

Celsius = Annotated[float, Meta(ge=-50, le=100)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Kelvin = Annotated[int, Meta(ge=1000, le=20000)]
# A day: nobody means to keep the rules away for longer by one press of a button.
MAX_HOLD_S = 86400.0
Topic = Annotated[str, Meta(pattern=r"^[^#+\x00]*$", max_length=256)]


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", kw_only=True):
    """What all kinds share.

    Attributes:
        topic: Base MQTT topic of a real device (``TOPIC/set``, ``TOPIC/state``, ``TOPIC/availability``); empty for a
            virtual one.
        confirm_s: Seconds a real device has to confirm a command by its state; then it is brought to its fail-safe
            state.
        hold_s: Seconds that what a person (or the parent) commanded keeps less binding ones away; ``null`` is the
            kind's own: 10 for a lock, 300 for a light, 3600 for a thermostat, 0 for an alarm.
    """

    topic: Topic = ""
    confirm_s: Annotated[float, Meta(gt=0, le=60)] = 3.0
    hold_s: Annotated[float, Meta(ge=0, le=MAX_HOLD_S)] | None = None


class LockSettings(_Settings, frozen=True, tag="lock", kw_only=True):
    """A lock.

    Attributes:
        relock_s: Locks again this long after the node unlocked it, or found it unlocked at its start; 0 never does.
        fail_safe: Where it goes when the node stops, dies, or gets no confirmation.
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


class _State(msgspec.Struct, frozen=True, tag_field="kind"):
    pass


class LockState(_State, frozen=True, tag="lock"):
    """Whether it is locked."""

    state: Literal["locked", "unlocked"] = "locked"


class LightState(_State, frozen=True, tag="light"):
    """Brightness in percent and colour temperature are kept while it is off."""

    state: Literal["on", "off"] = "off"
    brightness: Percent = 100
    colour_temp_k: Kelvin = 2700


class ThermostatState(_State, frozen=True, tag="thermostat"):
    """The temperature it aims at."""

    temperature_c: Celsius = 18.0


class AlarmState(_State, frozen=True, tag="alarm"):
    """Whether it is raised, and why."""

    state: Literal["clear", "raised"] = "clear"
    reason: str = ""


State: TypeAlias = LockState | LightState | ThermostatState | AlarmState


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Lock(_Command, frozen=True):
    """Locks."""


class Unlock(_Command, frozen=True):
    """Unlocks."""


class TurnOn(_Command, frozen=True):
    """Turns on; what is not given stays as it was."""

    brightness: Annotated[int, Meta(ge=1, le=100)] | None = None
    colour_temp_k: Kelvin | None = None


class TurnOff(_Command, frozen=True):
    """Turns off."""


class SetTemperature(_Command, frozen=True):
    """Aims at a temperature."""

    temperature_c: Celsius


class Raise(_Command, frozen=True):
    """Raises the alarm."""

    reason: Annotated[str, Meta(max_length=200)] = ""


class Clear(_Command, frozen=True):
    """Clears the alarm."""


Command: TypeAlias = Lock | Unlock | TurnOn | TurnOff | SetTemperature | Raise | Clear


class Kind(msgspec.Struct, frozen=True):
    """What a kind of device starts as, which commands it takes, and how long a person's command holds it."""

    initial: State
    commands: Mapping[str, type[Command]]
    hold_s: float


# A cleared alarm is not held: it has to be free to be raised again.
KINDS: dict[type[DeviceSettings], Kind] = {
    LockSettings: Kind(LockState(), {"lock": Lock, "unlock": Unlock}, 10.0),
    LightSettings: Kind(LightState(), {"turn_on": TurnOn, "turn_off": TurnOff}, 300.0),
    ThermostatSettings: Kind(ThermostatState(), {"set_temperature": SetTemperature}, 3600.0),
    AlarmSettings: Kind(AlarmState(), {"raise": Raise, "clear": Clear}, 0.0),
}


def kind_name(settings: DeviceSettings) -> str:
    """``lock``, ``light``, ..."""
    return str(settings.__struct_config__.tag)


def command_names(settings: DeviceSettings) -> list[str]:
    """The commands that a device takes."""
    return list(KINDS[type(settings)].commands)


def parse_command(settings: DeviceSettings, name: str, arguments: Mapping[str, Any]) -> Command:
    """A command by name, with its arguments checked against the device.

    Raises:
        NotFoundError: This kind of device has no such command.
        InputError: The arguments do not fit. Facts: ``command``.
    """
    commands = KINDS[type(settings)].commands
    if name not in commands:
        raise NotFoundError(
            f"A {kind_name(settings)} has no command {name!r}", hint=nearest(name, commands), kind="command", name=name
        )
    try:
        command = msgspec.convert({key: _number(value) for key, value in arguments.items()}, commands[name])
    except msgspec.ValidationError as error:
        raise InputError(f"Command {name!r}: {error}", command=name) from error
    if isinstance(settings, ThermostatSettings) and isinstance(command, SetTemperature):
        _check_bounds(settings, command)
    return command


def _number(value: Any) -> Any:
    """JSON has one kind of number: 60.0 is as good as 60 for a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_bounds(settings: ThermostatSettings, command: SetTemperature) -> None:
    if not settings.min_c <= command.temperature_c <= settings.max_c:
        raise InputError(
            f"{command.temperature_c} °C is outside {settings.min_c} to {settings.max_c} °C",
            hint="The bounds are the thermostat's min_c and max_c in the settings.",
            command="set_temperature",
            limit=[settings.min_c, settings.max_c],
            actual=command.temperature_c,
        )


def transition(state: State, command: Command) -> State:
    """The state a device is in once it has carried out a command that fits its kind."""
    match command:
        case Lock():
            return LockState("locked")
        case Unlock():
            return LockState("unlocked")
        case TurnOn():
            before = state if isinstance(state, LightState) else LightState()
            brightness = before.brightness if command.brightness is None else command.brightness
            colour = before.colour_temp_k if command.colour_temp_k is None else command.colour_temp_k
            return LightState("on", brightness, colour)
        case TurnOff():
            before = state if isinstance(state, LightState) else LightState()
            return msgspec.structs.replace(before, state="off")
        case SetTemperature():
            return ThermostatState(command.temperature_c)
        case Raise():
            return AlarmState("raised", command.reason)
        case Clear():
            return AlarmState("clear")
    assert_never(command)


def hold_s(settings: DeviceSettings) -> float:
    """How long a person's command holds a device that is not told otherwise."""
    return KINDS[type(settings)].hold_s if settings.hold_s is None else settings.hold_s


def state_of(facts: Mapping[str, Any]) -> State | None:
    """The state in what a device tells of itself; None while it is unknown."""
    if facts.get("state") == "unknown":
        return None
    state: State = msgspec.convert(dict(facts), State)
    return state


def confirms(state: State | None, command: Command) -> bool:
    """Whether a reported state is what a command asked for. Devices round: brightness may be one percent off."""
    match command, state:
        case Lock(), LockState("locked"):
            return True
        case Unlock(), LockState("unlocked"):
            return True
        case TurnOn(), LightState("on"):
            return command.brightness is None or abs(command.brightness - state.brightness) <= 1
        case TurnOff(), LightState("off"):
            return True
        case SetTemperature(), ThermostatState():
            return abs(command.temperature_c - state.temperature_c) < 0.06
        case Raise(), AlarmState("raised"):
            return True
        case Clear(), AlarmState("clear"):
            return True
    return False


def found_at_start(settings: DeviceSettings) -> Command | None:
    """The command for a device that the node finds elsewhere when it starts, because it may have died before it could
    bring it where it is safe. A door is never opened by that: one that is to be open without a node is only locked
    again, if it locks by itself.
    """
    if not isinstance(settings, LockSettings):
        return fail_safe(settings)
    return Lock() if settings.fail_safe == "locked" or settings.relock_s else None


def fail_safe(settings: DeviceSettings) -> Command | None:
    """The command that brings a device where it should be when the node stops or it does not confirm a command; None
    leaves it as it is.
    """
    match settings:
        case LockSettings():
            return Lock() if settings.fail_safe == "locked" else Unlock()
        case LightSettings():
            return {"keep": None, "on": TurnOn(), "off": TurnOff()}[settings.fail_safe]
        case ThermostatSettings():
            return None if settings.fail_safe_c is None else SetTemperature(settings.fail_safe_c)
        case AlarmSettings():
            return {"keep": None, "clear": Clear(), "raised": Raise("the node stopped or had no answer")}[
                settings.fail_safe
            ]
    assert_never(settings)
