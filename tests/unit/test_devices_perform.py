"""Devices: what commands do, and that nothing acts twice or late."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from edgewise._lib.clock import ManualClock, SystemClock
from edgewise.errors import ClosedError, InputError, NotFoundError, UnavailableError
from edgewise.pipeline.base import Action, Status
from edgewise.pipeline.devices import Devices, DeviceSettings
from edgewise.pipeline.kinds import (
    KINDS,
    AlarmSettings,
    Command,
    LightSettings,
    Lock,
    LockSettings,
    ThermostatSettings,
    Unlock,
    kind_name,
)
from edgewise.pipeline.sinks.virtual import VirtualDevice

HOME: dict[str, DeviceSettings] = {
    "door": LockSettings(relock_s=5.0),
    "hall": LightSettings(fail_safe="on"),
    "heating": ThermostatSettings(min_c=10, max_c=25, fail_safe_c=16),
    "siren": AlarmSettings(),
}


class Home:
    """Virtual devices and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.devices = Devices([VirtualDevice(name, settings) for name, settings in HOME.items()], clock=self.clock)
        self._count = 0

    def tell(self, device: str, command: str, /, *, key: str = "", expires_s: float = 5, **arguments: Any) -> Status:
        self._count += 1
        expires_ns = self.clock.time_ns() + int(expires_s * 1e9)
        action = Action(device, command, arguments, key=key or f"key-{self._count}", expires_ns=expires_ns)
        return self.devices.perform(action).status

    def state(self, device: str) -> dict[str, Any]:
        return self.devices.get(device).state


def test_a_lock_unlocks_and_locks_again_by_itself() -> None:
    home = Home()
    assert home.tell("door", "unlock") is Status.DONE
    home.clock.advance(4.9)
    home.devices.keep_safe()
    assert home.state("door")["state"] == "unlocked"
    home.clock.advance(0.2)
    home.devices.keep_safe()
    assert home.state("door") == {"kind": "lock", "state": "locked", "available": True}


def test_unlocking_again_starts_the_time_anew() -> None:
    home = Home()
    home.tell("door", "unlock")
    home.clock.advance(4)
    home.tell("door", "unlock")
    home.clock.advance(4)
    home.devices.keep_safe()
    assert home.state("door")["state"] == "unlocked"


def test_a_light_keeps_what_it_was_not_told() -> None:
    home = Home()
    home.tell("hall", "turn_on", brightness=60.0, colour_temp_k=4000)
    home.tell("hall", "turn_off")
    home.tell("hall", "turn_on")
    assert home.state("hall") == {
        "kind": "light",
        "state": "on",
        "brightness": 60,
        "colour_temp_k": 4000,
        "available": True,
    }


def test_a_thermostat_stays_within_its_bounds() -> None:
    home = Home()
    home.tell("heating", "set_temperature", temperature_c=21)
    with pytest.raises(InputError, match="outside 10 to 25"):
        home.tell("heating", "set_temperature", temperature_c=26)
    assert home.state("heating")["temperature_c"] == 21


def test_an_alarm_says_why_until_it_is_cleared() -> None:
    home = Home()
    home.tell("siren", "raise", reason="a stranger at the door")
    assert home.state("siren")["reason"] == "a stranger at the door"
    home.tell("siren", "clear")
    assert (home.state("siren")["state"], home.state("siren")["reason"]) == ("clear", "")


def test_a_repeated_key_acts_once() -> None:
    home = Home()
    assert home.tell("door", "unlock", key="one") is Status.DONE
    home.tell("door", "lock")
    assert home.tell("door", "unlock", key="one") is Status.REPEATED
    assert home.state("door")["state"] == "locked"


def test_an_expired_command_never_acts() -> None:
    home = Home()
    assert home.tell("door", "unlock", expires_s=0) is Status.EXPIRED
    assert home.state("door")["state"] == "locked"


def test_a_key_is_remembered_for_longer_than_any_command_is_valid() -> None:
    home = Home()
    home.tell("door", "unlock", key="one", expires_s=300)
    home.tell("door", "lock")
    home.clock.advance(599)
    assert home.tell("door", "unlock", key="one") is Status.REPEATED
    home.clock.advance(2)
    assert home.tell("door", "unlock", key="one") is Status.DONE


@pytest.mark.parametrize("action", [{"key": ""}, {"expires_s": 301}])
def test_an_action_without_a_key_or_valid_for_too_long_is_refused(action: dict[str, Any]) -> None:
    home = Home()
    now = home.clock.time_ns()
    wrong = Action(
        "door", "unlock", {}, key=action.get("key", "k"), expires_ns=now + int(action.get("expires_s", 5) * 1e9)
    )
    with pytest.raises(InputError):
        home.devices.perform(wrong)
    assert home.state("door")["state"] == "locked"


@pytest.mark.parametrize(
    ("device", "command", "arguments", "says"),
    [
        ("dor", "unlock", {}, "No device is named 'dor'"),
        ("door", "unlok", {}, "A lock has no command 'unlok'"),
        ("door", "unlock", {"for_s": 3}, "unknown field `for_s`"),
        ("hall", "turn_on", {"brightness": 101}, "<= 100"),
        ("hall", "turn_on", {"brightness": "much"}, "Expected `int"),
        ("heating", "set_temperature", {}, "missing required field"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(device: str, command: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        Home().tell(device, command, **arguments)
    assert says in caught.value.message


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(NotFoundError) as caught:
        Home().tell("door", "unlok")
    assert caught.value.hint == "Did you mean 'unlock'?"


def test_when_the_node_stops_every_device_goes_where_it_is_safe() -> None:
    home = Home()
    home.tell("door", "unlock")
    home.tell("siren", "raise")
    assert home.devices.fail_safe() == []
    states = home.devices.states()
    assert states["door"]["state"] == "locked"
    assert states["hall"]["state"] == "on"
    assert states["heating"]["temperature_c"] == 16
    assert states["siren"]["state"] == "raised"


def test_once_it_stops_nothing_is_commanded_any_more() -> None:
    home = Home()
    home.devices.fail_safe()
    with pytest.raises(ClosedError, match="stopping"):
        home.tell("door", "unlock")
    assert home.state("door")["state"] == "locked"


def test_a_way_out_stays_open_when_the_node_stops() -> None:
    clock = ManualClock()
    devices = Devices([VirtualDevice("exit", LockSettings(relock_s=5.0, fail_safe="unlocked"))], clock=clock)
    devices.perform(Action("exit", "unlock", {}, key="one", expires_ns=clock.time_ns() + 1_000_000_000))
    assert devices.fail_safe() == []
    clock.advance(60)
    devices.keep_safe()
    assert devices.get("exit").state["state"] == "unlocked"


def test_a_device_whose_adapter_is_broken_keeps_no_other_from_its_fail_safe_state() -> None:
    class Broken(VirtualDevice):
        def apply(self, command: Command, *, key: str, expires_ns: int) -> None:
            raise ValueError("a fault of the adapter")

    devices = Devices(
        [Broken("siren", AlarmSettings(fail_safe="clear")), VirtualDevice("hall", LightSettings(fail_safe="on"))],
        clock=ManualClock(),
    )
    (failure,) = devices.fail_safe()
    assert "a fault of the adapter" in failure.message
    assert devices.get("hall").state["state"] == "on"


def test_a_lock_that_was_left_open_by_a_node_that_died_is_locked() -> None:
    clock = ManualClock()
    lock = VirtualDevice("door", LockSettings(relock_s=5.0))
    devices = Devices([lock], clock=clock)
    lock.apply(Unlock(), key="not ours", expires_ns=0)
    clock.advance(4)
    devices.keep_safe()
    assert lock.state["state"] == "unlocked"
    clock.advance(2)
    devices.keep_safe()
    assert lock.state["state"] == "locked"


def test_changes_are_told_once_and_only_when_something_changed() -> None:
    home = Home()
    told: list[tuple[str, str]] = []
    home.devices.subscribe(lambda name, state: told.append((name, state["state"])))
    home.tell("door", "unlock")
    home.tell("door", "unlock")
    home.tell("door", "lock")
    assert told == [("door", "unlocked"), ("door", "locked")]


class StubbornLock(VirtualDevice):
    """A lock that does not answer until it is told to."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("door", LockSettings(relock_s=5.0))
        self.answers = False
        self.error: Exception = UnavailableError("no answer", sent=sent)
        self.received: list[Command] = []

    def apply(self, command: Command, *, key: str, expires_ns: int) -> None:
        self.received.append(command)
        if not self.answers:
            raise self.error
        super().apply(command, key=key, expires_ns=expires_ns)


def act(devices: Devices, clock: ManualClock) -> Status:
    action = Action("door", "unlock", {}, key="one", expires_ns=clock.time_ns() + 5_000_000_000)
    return devices.perform(action).status


@pytest.mark.parametrize(("sent", "then"), [(True, Status.REPEATED), (False, Status.DONE)])
def test_a_command_that_may_have_acted_is_not_sent_again_but_one_that_never_left_is(sent: bool, then: Status) -> None:
    clock = ManualClock()
    lock = StubbornLock(sent=sent)
    devices = Devices([lock], clock=clock)
    with pytest.raises(UnavailableError):
        act(devices, clock)
    lock.answers = True
    assert act(devices, clock) is then


@pytest.mark.parametrize("error", [UnavailableError("no answer", sent=True), ValueError("a fault of the adapter")])
def test_a_lock_that_may_have_opened_is_asked_to_lock_until_it_confirms(error: Exception) -> None:
    clock = ManualClock()
    lock = StubbornLock(sent=True)
    lock.error = error
    devices = Devices([lock], clock=clock)
    with pytest.raises(type(error)):
        act(devices, clock)
    clock.advance(5)
    devices.keep_safe()
    devices.keep_safe()
    assert lock.received == [Unlock(), Lock()]
    lock.answers = True
    clock.advance(1)
    devices.keep_safe()
    clock.advance(60)
    devices.keep_safe()
    assert lock.received == [Unlock(), Lock(), Lock()]


def test_the_thread_locks_a_real_clock_lock() -> None:
    locked = threading.Event()
    devices = Devices([VirtualDevice("door", LockSettings(relock_s=0.05))], clock=SystemClock())
    devices.subscribe(lambda _, state: locked.set() if state["state"] == "locked" else None)
    devices.start()
    try:
        expires_ns = SystemClock().time_ns() + 1_000_000_000
        devices.perform(Action("door", "unlock", {}, key="one", expires_ns=expires_ns))
        assert locked.wait(5)
    finally:
        devices.close()


def test_every_kind_has_a_name_and_commands() -> None:
    assert {kind_name(settings) for settings in HOME.values()} == {"lock", "light", "thermostat", "alarm"}
    assert all(kind.commands for kind in KINDS.values())
