"""Who commands a device: what binds more holds it for a while, and that survives a kill."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from edgewise._lib.clock import ManualClock
from edgewise.errors import ClosedError, InputError, UnavailableError
from edgewise.pipeline.base import Action, Origin, Outcome, Status
from edgewise.pipeline.devices import Devices, DeviceSettings
from edgewise.pipeline.kinds import (
    AlarmSettings,
    Command,
    LightSettings,
    Lock,
    LockSettings,
    ThermostatSettings,
    TurnOff,
    Unlock,
)
from edgewise.pipeline.ledger import Ledger
from edgewise.pipeline.safekeeping import Reason, Safety
from edgewise.pipeline.sinks.virtual import VirtualDevice

KINDS: dict[str, DeviceSettings] = {
    "door": LockSettings(relock_s=0, hold_s=60),
    "hall": LightSettings(),
    "heating": ThermostatSettings(fail_safe_c=16),
    "siren": AlarmSettings(),
}


class House:
    """Devices on a disk that outlives the process."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self._file = folder / "commands.db"
        self._count = itertools.count(1)
        self.told: list[Safety] = []
        self.virtual = [VirtualDevice(name, kind) for name, kind in KINDS.items()]
        self.boot()

    def boot(self) -> None:
        """A new process; the old one was killed."""
        self.devices = Devices(
            self.virtual, clock=self.clock, ledger=Ledger(self._file), told=lambda safety: self.told.append(safety)
        )

    def tell(
        self, origin: Origin, device: str, command: str, *, key: str = "", hold_s: float | None = None, **arguments: Any
    ) -> Outcome:
        action = Action(
            device,
            command,
            arguments,
            key=key or f"{origin}-{next(self._count)}",
            expires_ns=self.clock.time_ns() + 5_000_000_000,
            cause="Ada",
            origin=origin,
            hold_s=hold_s,
        )
        return self.devices.perform(action)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_a_person_set_is_kept_from_rules_until_the_time_is_over(house: House) -> None:
    assert house.tell(Origin.APP, "hall", "turn_on").status is Status.DONE
    overruled = house.tell(Origin.RULE, "hall", "turn_off")
    assert overruled.status is Status.OVERRULED
    assert overruled.hold is not None
    assert (overruled.hold.origin, overruled.hold.cause) == (Origin.APP, "Ada")
    assert overruled.state["state"] == "on"
    house.clock.advance(300)
    assert house.tell(Origin.RULE, "hall", "turn_off").status is Status.DONE


@pytest.mark.parametrize(
    ("holder", "other", "status"),
    [
        (Origin.APP, Origin.APP, Status.DONE),
        (Origin.APP, Origin.PARENT, Status.OVERRULED),
        (Origin.APP, Origin.RULE, Status.OVERRULED),
        (Origin.PARENT, Origin.APP, Status.DONE),
        (Origin.PARENT, Origin.PARENT, Status.DONE),
        (Origin.PARENT, Origin.RULE, Status.OVERRULED),
        (Origin.RULE, Origin.RULE, Status.DONE),
        (Origin.RULE, Origin.PARENT, Status.DONE),
    ],
)
def test_who_binds_more_prevails(house: House, holder: Origin, other: Origin, status: Status) -> None:
    house.tell(holder, "hall", "turn_on")
    assert house.tell(other, "hall", "turn_off").status is status


def test_a_hold_is_released_by_hand(house: House) -> None:
    house.tell(Origin.APP, "hall", "turn_on")
    released = house.devices.release("hall")
    assert released is not None
    assert released.origin is Origin.APP
    assert house.devices.release("hall") is None
    assert house.tell(Origin.RULE, "hall", "turn_off").status is Status.DONE


def test_a_person_may_ask_for_no_hold_or_a_longer_one_but_not_for_ever(house: House) -> None:
    house.tell(Origin.APP, "hall", "turn_on", hold_s=0)
    assert house.tell(Origin.RULE, "hall", "turn_off").status is Status.DONE
    house.tell(Origin.APP, "hall", "turn_on", hold_s=7200)
    house.clock.advance(7000)
    assert house.tell(Origin.RULE, "hall", "turn_off").status is Status.OVERRULED
    with pytest.raises(InputError, match="held for 86400 s at most"):
        house.tell(Origin.APP, "hall", "turn_on", hold_s=1e9)


def test_nobody_is_kept_from_the_fail_safe_state(house: House) -> None:
    house.tell(Origin.APP, "door", "unlock")
    assert house.tell(Origin.RULE, "door", "unlock").status is Status.OVERRULED
    assert house.tell(Origin.RULE, "door", "lock").status is Status.DONE
    house.tell(Origin.APP, "heating", "set_temperature", temperature_c=22)
    assert house.tell(Origin.RULE, "heating", "set_temperature", temperature_c=18).status is Status.OVERRULED
    assert house.tell(Origin.RULE, "heating", "set_temperature", temperature_c=16).status is Status.DONE
    hold = house.devices.hold("heating")
    assert hold is not None  # and the person still holds it
    assert hold.origin is Origin.APP


def test_an_alarm_that_was_cleared_can_be_raised_again(house: House) -> None:
    house.tell(Origin.RULE, "siren", "raise")
    house.tell(Origin.APP, "siren", "clear")
    assert house.tell(Origin.RULE, "siren", "raise").status is Status.DONE


def test_an_overruled_key_was_not_used(house: House) -> None:
    house.tell(Origin.APP, "hall", "turn_on")
    assert house.tell(Origin.RULE, "hall", "turn_off", key="one").status is Status.OVERRULED
    house.devices.release("hall")
    assert house.tell(Origin.RULE, "hall", "turn_off", key="one").status is Status.DONE
    assert house.tell(Origin.RULE, "hall", "turn_off", key="one").status is Status.REPEATED


def test_keys_and_holds_survive_a_kill(house: House) -> None:
    house.tell(Origin.APP, "door", "unlock", key="one")
    house.clock.advance(20)
    house.boot()
    assert house.tell(Origin.APP, "door", "unlock", key="one").status is Status.REPEATED
    hold = house.devices.hold("door")
    assert hold is not None
    assert (hold.origin, hold.cause) == (Origin.APP, "Ada")
    house.clock.advance(39)
    assert house.tell(Origin.RULE, "door", "unlock").status is Status.OVERRULED
    house.clock.advance(2)
    assert house.tell(Origin.RULE, "door", "unlock").status is Status.DONE


def test_a_key_that_was_used_before_a_kill_is_forgotten_in_the_end(house: House) -> None:
    house.tell(Origin.APP, "door", "lock", key="one")
    house.boot()
    house.clock.advance(599)
    assert house.tell(Origin.APP, "door", "lock", key="one").status is Status.REPEATED
    house.clock.advance(2)
    house.tell(Origin.APP, "door", "lock", key="two")
    house.boot()
    assert house.tell(Origin.APP, "door", "lock", key="one").status is Status.DONE


def test_a_clock_that_was_set_back_while_the_node_was_down_makes_no_hold_longer_than_it_was(house: House) -> None:
    house.tell(Origin.APP, "door", "unlock")
    house.clock.jump(-86400)
    house.boot()
    house.clock.advance(61)
    assert house.devices.hold("door") is None


def test_a_clock_that_is_set_while_the_node_runs_changes_no_hold(house: House) -> None:
    house.tell(Origin.APP, "hall", "turn_on")
    for jump in (86400, -2 * 86400):
        house.clock.jump(jump)
        assert house.devices.hold("hall") is not None
    house.clock.advance(301)
    assert house.devices.hold("hall") is None


class Deaf(VirtualDevice):
    """Hears everything and confirms nothing, until it is told to; ``late`` is what it does after all."""

    def __init__(self, name: str, settings: DeviceSettings, *, sent: bool = True) -> None:
        super().__init__(name, settings)
        self.answers = False
        self.sent = sent
        self.heard: list[Command] = []
        self.expires: list[int] = []

    def apply(self, command: Command, *, key: str, expires_ns: int) -> None:
        self.heard.append(command)
        self.expires.append(expires_ns)
        if not self.answers:
            raise UnavailableError(f"{self.name} did not confirm", sent=self.sent)
        super().apply(command, key=key, expires_ns=expires_ns)


def deaf(kind: DeviceSettings, *, sent: bool = True) -> tuple[House, Deaf]:
    house = House.__new__(House)
    house.clock, house.told, house._count = ManualClock(), [], itertools.count(1)
    device = Deaf("thing", kind, sent=sent)
    house.devices = Devices([device], clock=house.clock, told=house.told.append)
    return house, device


def test_what_does_not_confirm_goes_to_its_fail_safe_state_and_the_decision_says_so() -> None:
    house, lamp = deaf(LightSettings(fail_safe="off"))
    with pytest.raises(UnavailableError, match="brought to its fail-safe state") as caught:
        house.tell(Origin.APP, "thing", "turn_on")
    assert caught.value.facts["fail_safe"] is True
    assert house.devices.hold("thing") is None
    assert house.devices.due("thing") == "unconfirmed"
    house.devices.keep_safe()
    house.devices.keep_safe()
    assert lamp.heard[1:] == [TurnOff()]  # asked again after a second, not at once
    lamp.answers = True
    house.clock.advance(1)
    house.devices.keep_safe()
    assert house.devices.due("thing") == ""
    failed, done = house.told
    assert (failed.reason, failed.error is None, done.error is None) == (Reason.UNCONFIRMED, False, True)
    assert done.command == "turnoff"


def test_what_never_left_changes_nothing_and_holds_nothing() -> None:
    house, lamp = deaf(LightSettings(fail_safe="off"), sent=False)
    with pytest.raises(UnavailableError, match=r"did not confirm$"):
        house.tell(Origin.APP, "thing", "turn_on", key="one")
    assert (house.devices.due("thing"), house.devices.hold("thing")) == ("", None)
    lamp.answers = True
    assert house.tell(Origin.APP, "thing", "turn_on", key="one").status is Status.DONE


def test_a_device_that_keeps_its_state_is_left_where_it_is() -> None:
    house, lamp = deaf(LightSettings())
    with pytest.raises(UnavailableError, match=r"did not confirm$"):
        house.tell(Origin.RULE, "thing", "turn_on")
    house.devices.keep_safe()
    assert len(lamp.heard) == 1


def test_a_lock_that_opens_after_all_is_locked_again() -> None:
    house, lock = deaf(LockSettings(relock_s=0))
    with pytest.raises(UnavailableError):
        house.tell(Origin.RULE, "thing", "unlock")
    lock.answers = True
    house.devices.keep_safe()
    assert house.devices.due("thing") == ""
    VirtualDevice.apply(lock, Unlock(), key="late", expires_ns=0)
    assert house.devices.due("thing") == "unconfirmed"
    house.devices.keep_safe()
    assert lock.heard == [Unlock(), Lock(), Lock()]
    assert lock.state["state"] == "locked"


def test_a_command_that_is_overtaken_does_not_undo_the_confirmed_one_for_long() -> None:
    house, lock = deaf(LockSettings(relock_s=0))
    with pytest.raises(UnavailableError):
        house.tell(Origin.RULE, "thing", "unlock")
    lock.answers = True
    house.tell(Origin.APP, "thing", "lock")
    VirtualDevice.apply(lock, Unlock(), key="late", expires_ns=0)
    house.devices.keep_safe()
    assert lock.state["state"] == "locked"


def test_a_confirmed_command_ends_what_was_due() -> None:
    house, lamp = deaf(LightSettings(fail_safe="off"))
    with pytest.raises(UnavailableError):
        house.tell(Origin.RULE, "thing", "turn_on")
    lamp.answers = True
    house.tell(Origin.APP, "thing", "turn_on")
    house.devices.keep_safe()
    assert lamp.state["state"] == "on"


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (LightSettings(fail_safe="off"), "turn_on", "off"),
        (LightSettings(), "turn_on", "on"),
        (LockSettings(relock_s=0), "unlock", "locked"),
        (LockSettings(relock_s=0, fail_safe="unlocked"), "unlock", "unlocked"),
        (LockSettings(relock_s=0, fail_safe="unlocked"), "lock", "locked"),  # a start opens no door
        (AlarmSettings(fail_safe="raised"), "clear", "raised"),
    ],
)
def test_what_a_node_that_died_left_is_brought_where_it_is_safe(kind: DeviceSettings, before: str, after: str) -> None:
    house, device = deaf(kind)
    device.answers = True
    house.tell(Origin.RULE, "thing", before)
    again = Devices([device], clock=house.clock)
    again.start()
    try:
        again.keep_safe()
    finally:
        again.close()
    assert device.state["state"] == after


@pytest.mark.parametrize("safe", ["locked", "unlocked"])
def test_what_was_told_before_a_kill_and_acts_after_it_is_undone_but_no_door_opened(safe: str, tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "commands.db"
    lock = Deaf("door", LockSettings(relock_s=0, fail_safe=safe))  # type: ignore[arg-type]
    command = "unlock" if safe == "locked" else "lock"
    action = Action("door", command, {}, key="one", expires_ns=clock.time_ns() + 5_000_000_000)
    first = Devices([lock], clock=clock, ledger=Ledger(file))
    with pytest.raises(UnavailableError):
        first.perform(action)
    lock.answers = True
    second = Devices([lock], clock=clock, ledger=Ledger(file))
    second.keep_safe()
    VirtualDevice.apply(lock, Unlock() if safe == "locked" else Lock(), key="one", expires_ns=0)
    second.keep_safe()
    assert lock.state["state"] == "locked"
    first.close()
    second.close()


def test_what_was_confirmed_before_a_kill_is_left_alone_after_it(tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "commands.db"
    lamp = Deaf("lamp", LightSettings(fail_safe="off"))
    first = Devices([lamp], clock=clock, ledger=Ledger(file))
    actions = [
        Action("lamp", "turn_on", {}, key=key, expires_ns=clock.time_ns() + 5_000_000_000, origin=Origin.APP)
        for key in ("one", "two")
    ]
    with pytest.raises(UnavailableError):
        first.perform(actions[0])
    lamp.answers = True
    first.perform(actions[1])
    second = Devices([lamp], clock=clock, ledger=Ledger(file))
    second.keep_safe()
    assert lamp.state["state"] == "on"
    first.close()
    second.close()


def test_what_a_person_holds_is_left_where_it_is_after_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    lamp = VirtualDevice("lamp", LightSettings(fail_safe="off"))
    first = Devices([lamp], clock=clock, ledger=Ledger(tmp_path / "commands.db"))
    expires_ns = clock.time_ns() + 1_000_000_000
    first.perform(Action("lamp", "turn_on", {}, key="one", expires_ns=expires_ns, origin=Origin.APP))
    second = Devices([lamp], clock=clock, ledger=Ledger(tmp_path / "commands.db"))
    second.start()
    second.close()
    assert lamp.state["state"] == "on"
    first.close()


def test_late_by_either_clock_is_late_and_the_device_is_told_the_true_time_left() -> None:
    house, lamp = deaf(LightSettings())
    lamp.answers = True
    now = house.clock.time_ns()
    action = Action("thing", "turn_on", {}, key="one", expires_ns=now + 5_000_000_000, deadline_s=5.0)
    house.clock.jump(-60)
    assert house.devices.perform(action).status is Status.DONE
    assert lamp.expires == [house.clock.time_ns() + 5_000_000_000]
    house.clock.advance(6)
    late = Action("thing", "turn_on", {}, key="two", expires_ns=now + 5_000_000_000, deadline_s=5.0)
    assert house.devices.perform(late).status is Status.EXPIRED
    house.clock.jump(3600)
    ahead = Action("thing", "turn_on", {}, key="three", expires_ns=now + 5_000_000_000, deadline_s=900.0)
    assert house.devices.perform(ahead).status is Status.EXPIRED


def test_a_key_that_is_too_long_is_refused(house: House) -> None:
    with pytest.raises(InputError, match="too long"):
        house.tell(Origin.RULE, "hall", "turn_on", key="k" * 1025)


def test_a_closed_ledger_lets_nothing_act(house: House) -> None:
    house.devices.close()
    with pytest.raises(ClosedError):
        house.tell(Origin.RULE, "hall", "turn_on")
    assert house.virtual[1].state["state"] == "off"
