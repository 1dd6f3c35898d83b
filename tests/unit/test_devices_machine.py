"""Whatever happens between a node and a device, in whatever order: nothing acts twice, nothing acts late, nobody is
overruled by less, and in the end a device is where it is safe or where it was confirmed to be.

Time is judged by the monotonic clock of the simulation, which is the true one; the wall clock jumps as it likes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from edgewise._lib.clock import ManualClock
from edgewise.errors import InputError, UnavailableError
from edgewise.pipeline.base import Action, Origin, Status
from edgewise.pipeline.devices import Devices
from edgewise.pipeline.kinds import Command, LightSettings, LockSettings
from edgewise.pipeline.ledger import Ledger
from edgewise.testing.actuator import Actuator

KINDS = {
    "door": LockSettings(relock_s=5.0, confirm_s=1.0, hold_s=20.0),
    "lamp": LightSettings(fail_safe="off", confirm_s=1.0, hold_s=20.0),
}
COMMANDS = {"door": ("unlock", "lock"), "lamp": ("turn_on", "turn_off")}
SAFE = {"door": "locked", "lamp": "off"}


class Letter(msgspec.Struct, frozen=True):
    """A command on its way; ``until_s`` is its true expiry, which the broker counts."""

    device: str
    command: Command
    key: str
    until_s: float


class World:
    """True time, the devices, and the line between them and the node: it loses, delays, doubles and reorders."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.actuators = {
            name: Actuator(kind, now_ns=lambda: int(self.clock.monotonic() * 1e9)) for name, kind in KINDS.items()
        }
        self.line: list[Letter] = []
        self.partition = False
        self.delivery = "now"
        self.left: Counter[str] = Counter()
        self.sent_at: dict[str, float] = {}

    def carry(self, letter: Letter) -> bool:
        """Whether it arrived and was confirmed."""
        if self.partition:
            raise UnavailableError("no connection", sent=False)
        self.left[letter.key] += 1
        self.sent_at[letter.key] = self.clock.monotonic()
        match self.delivery:
            case "now":
                self.arrive(letter)
                return True
            case "twice":
                self.arrive(letter)
                self.line.append(letter)
                return True
            case "unconfirmed":
                self.arrive(letter)
            case "delayed":
                self.line.append(letter)
        return False  # and what is lost never arrives

    def arrive(self, letter: Letter) -> None:
        self.actuators[letter.device].take(letter.command, key=letter.key, expires_ns=int(letter.until_s * 1e9))


class Wired:
    """A device at the end of the line. Keeps the ``Device`` seam."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.settings = KINDS[name]
        self._world = world
        self._listeners: list[Any] = []

    @property
    def state(self) -> dict[str, Any]:
        return {**msgspec.to_builtins(self._world.actuators[self.name].state), "available": True}

    def apply(self, command: Command, *, key: str, expires_ns: int) -> None:
        left_s = (expires_ns - self._world.clock.time_ns()) / 1e9
        letter = Letter(self.name, command, key, self._world.clock.monotonic() + left_s)
        if not self._world.carry(letter):
            raise UnavailableError("no confirmation", sent=True)
        self.tell()

    def tell(self) -> None:
        for listener in self._listeners:
            listener(self.name, self.state)

    def subscribe(self, listener: Any) -> None:
        self._listeners.append(listener)

    def close(self) -> None:
        pass


class Actuation(RuleBasedStateMachine):
    """A node that is killed, its clock, its line, and those who command its devices."""

    actions = Bundle("actions")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()  # a disk that outlives the process
        self.world = World()
        self.deadlines: dict[str, float] = {}
        self.numbers = itertools.count(1)
        self.settled: dict[str, str | None] = dict.fromkeys(KINDS)
        self.boot()

    def boot(self) -> None:
        """A new process on the same disk. Its keys and holds are all that is left of the old one."""
        self.wired = {name: Wired(name, self.world) for name in KINDS}
        self.devices = Devices(self.wired.values(), clock=self.world.clock, ledger=self.ledger)
        for name, wired in self.wired.items():
            self.devices._keeping.look(name, wired.state)  # as ``start``, without its thread

    def teardown(self) -> None:
        """The line is mended and time goes on: everything comes to rest where it should be."""
        self.world.partition, self.world.delivery = False, "now"
        for letter in self.world.line:
            self.world.arrive(letter)
        for _ in range(4):
            for wired in self.wired.values():
                wired.tell()
            self.world.clock.advance(30)
            self.devices.keep_safe()
        assert self.state("door") == "locked"
        if self.settled["lamp"] is not None:
            assert self.state("lamp") == self.settled["lamp"]
        self.devices.close()

    def state(self, name: str) -> str:
        return str(self.wired[name].state["state"])

    @rule(
        target=actions,
        device=st.sampled_from(sorted(KINDS)),
        which=st.integers(0, 1),
        origin=st.sampled_from([Origin.APP, Origin.PARENT, Origin.RULE]),
        valid_s=st.sampled_from([5.0, 60.0]),
    )
    def somebody_wants(self, device: str, which: int, origin: Origin, valid_s: float) -> Action:
        clock = self.world.clock
        key = f"{origin}-{next(self.numbers)}"
        self.deadlines[key] = clock.monotonic() + valid_s
        return Action(
            device,
            COMMANDS[device][which],
            {},
            key=key,
            expires_ns=clock.time_ns() + int(valid_s * 1e9),
            cause=key,
            origin=origin,
            deadline_s=self.deadlines[key],
        )

    @rule(action=actions, delivery=st.sampled_from(["now", "now", "twice", "unconfirmed", "delayed", "lost"]))
    def it_is_performed(self, action: Action, delivery: str) -> None:
        """Perhaps again, perhaps much later, perhaps by another process than before."""
        self.world.delivery = delivery
        hold = self.devices.hold(action.device)
        sent = self.world.left[action.key]
        name = action.device
        try:
            outcome = self.devices.perform(action)
        except UnavailableError as error:
            if error.facts.get("sent") is not False:
                self.settled[name] = SAFE[name]
            return
        except InputError:  # the wall clock was set back so far that it seems to be valid for too long
            return
        if hold is not None and hold.origin.outranks(action.origin) and outcome.status is Status.DONE:
            assert self.state(name) == SAFE[name]
        if outcome.status is Status.DONE:
            self.settled[name] = self.state(name)
        else:
            assert self.world.left[action.key] == sent

    @rule(seconds=st.sampled_from([1.0, 4.0, 30.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86400.0, -30.0, 30.0, 86400.0]))
    def the_wall_clock_jumps(self, seconds: float) -> None:
        self.world.clock.jump(seconds)

    @rule(delivery=st.sampled_from(["now", "unconfirmed", "delayed", "lost"]))
    def the_node_keeps_safe(self, delivery: str) -> None:
        self.world.delivery = delivery
        self.devices.keep_safe()

    @precondition(lambda self: self.world.line)
    @rule(data=st.data(), again=st.booleans())
    def something_late_arrives(self, data: st.DataObject, again: bool) -> None:
        """In any order, and perhaps a second time."""
        letter = data.draw(st.sampled_from(self.world.line))
        if not again:
            self.world.line.remove(letter)
        self.world.arrive(letter)
        self.wired[letter.device].tell()

    @rule()
    def the_line_breaks(self) -> None:
        self.world.partition = True

    @rule()
    def the_line_is_mended(self) -> None:
        self.world.partition = False

    @rule()
    def the_broker_restarts(self) -> None:
        self.world.line.clear()

    @rule(device=st.sampled_from(sorted(KINDS)))
    def a_hold_is_released(self, device: str) -> None:
        self.devices.release(device)
        assert self.devices.hold(device) is None

    @rule(hears=st.booleans())
    def the_node_is_killed_and_comes_back(self, hears: bool) -> None:
        """Devices hear of it by the node's last will, unless the line is broken."""
        if hears and not self.world.partition:
            for actuator in self.world.actuators.values():
                actuator.lose_node()
        self.boot()
        for name in KINDS:
            held = self.devices.hold(name)
            if held is None or (hears and not self.world.partition and self.settled[name] is not None):
                self.settled[name] = SAFE[name]

    @invariant()
    def nothing_leaves_or_acts_twice(self) -> None:
        assert all(count == 1 for count in self.world.left.values())
        for actuator in self.world.actuators.values():
            acted = Counter(act.key for act in actuator.acts if act.key)
            assert all(count == 1 for count in acted.values())

    @invariant()
    def nothing_leaves_or_acts_late(self) -> None:
        for key, at_s in self.world.sent_at.items():
            assert at_s < self.deadlines.get(key, float("inf"))
        for actuator in self.world.actuators.values():
            for act in actuator.acts:
                assert act.time_ns / 1e9 < self.deadlines.get(act.key, float("inf"))


# No deadline: fifty steps, each on a database, take as long as the machine is busy, and nothing is promised about that.
Actuation.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestActuation = Actuation.TestCase
