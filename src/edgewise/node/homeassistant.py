"""A node in Home Assistant: what it has appears there by itself, and can be commanded from there.

Discovery and states are retained at the broker, and told again whenever the connection or Home Assistant comes back
(its birth message). What the node takes up while it runs is told then, what it gives up is taken out, also what it gave
up while it was off (``announcing``), and the rest is not touched. Commands are never retained, neither ours nor
theirs: one that the broker kept, or that was held up on its way, is refused. A command of Home Assistant has the origin
``app``; the node settles whether it acts, and writes down what came of it.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import EdgewiseError
from edgewise.node.announcing import Announcements
from edgewise.node.discovery import EVENT_KINDS, Describer, Entity, HomeAssistantSettings, encode_state, parse_order
from edgewise.node.pulse import BEAT_S, Pulse
from edgewise.pipeline.base import Action, Event, Origin, Reading, Value
from edgewise.pipeline.kinds import state_of

if TYPE_CHECKING:
    from edgewise.node.settings import Settings
    from edgewise.node.sights import Sights
    from edgewise.pipeline.base import Outcome
    from edgewise.pipeline.devices import Devices
    from edgewise.pipeline.sinks.mqtt import Broker, Message

# A command that waits behind others of the same device for longer is stale.
COMMAND_VALID_S = 10.0
# Entities of channels; a source that makes up names must not fill Home Assistant.
_MAX_CHANNELS = 512
_MAX_KINDS = 64
_MAX_EVENTS = 256
# Commands for one device that wait at once; somebody who moves a slider sends many, and only the last matters.
_MAX_ORDERS = 8
_WORKERS = 4

logger = logging.getLogger(__name__)


class House(Protocol):
    """What is shown of a node."""

    @property
    def devices(self) -> Devices:
        """What it commands."""
        ...

    def command(self, action: Action, *, client: str) -> Outcome:
        """Commands a device and writes down what came of it."""
        ...


class HomeAssistant:
    """Tells Home Assistant of a node, in a thread of its own.

    Args:
        settings: None takes everything out that was told before.
        node: Name of the node.
        house: Its devices and how they are commanded.
        sights: What else there is.
        broker: The connection; not started yet.
        memory: File in which is kept what was told, so that it can be taken out.
        clock: For expiries and intervals.
    """

    def __init__(
        self,
        settings: HomeAssistantSettings | None,
        *,
        node: str,
        house: House,
        sights: Sights,
        broker: Broker,
        memory: Path,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._describer = Describer(settings or HomeAssistantSettings(), node=node, base=broker.base)
        self._house = house
        self._sights = sights
        self._broker = broker
        self._announcements = Announcements(broker, memory)
        self._clock = clock
        self._pulse = Pulse(clock)
        self._changed = threading.Condition()
        self._stopping = False
        self._announce = False
        self._news: Settings | None = None
        self._unfinished = False
        self._again = False
        self._states: set[str] = set()
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._deferred: list[tuple[float, Event]] = []
        self._seen: dict[str, set[str]] = {}
        self._channels: dict[tuple[str, str], Entity] = {}
        self._values: dict[tuple[str, str], Value] = {}
        self._shown: dict[str, int] = {}
        self._versions: dict[str, tuple[str, str]] = {}
        self._next_picture_s = 0.0
        self._next_values_s = 0.0
        self._orders: dict[str, deque[tuple[bytes, str, float]]] = {}
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="home-assistant")
        self._thread = threading.Thread(target=self._run, name="home-assistant", daemon=True)
        self._listen()

    def start(self) -> None:
        """Starts telling."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; what was told stays."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(cancel_futures=True)

    def follow(self, settings: Settings) -> None:
        """The node has these pipelines, rules and models now."""
        with self._changed:
            self._news = settings
            self._changed.notify_all()

    def take_event(self, event: Event) -> None:
        """Something happened; it is told if Home Assistant can be reached now."""
        with self._changed:
            if self._broker.connected:
                self._events.append(event)
                self._changed.notify_all()

    def take_readings(self, readings: Sequence[Reading]) -> None:
        """Sensors said something; of each channel the newest value is told once a second."""
        with self._changed:
            for reading in readings:
                for channel, value in reading.values.items():
                    known = (reading.source, channel) in self._values
                    if value is not None and (known or len(self._values) < _MAX_CHANNELS):
                        self._values[reading.source, channel] = value

    def _listen(self) -> None:
        self._broker.watch(self._connection_changed)
        if self._settings is None:
            return
        self._broker.listen(f"{self._settings.discovery_prefix}/status", self._take_birth)
        self._broker.listen(f"{self._broker.base}/pulse", lambda message: self._pulse.take(message.payload), qos=0)
        for name in self._house.devices.names():
            # At most once: Home Assistant gives no key by which a doubled message could be told.
            self._broker.listen(f"{self._broker.base}/device/{name}/set", self._take_order, qos=0)
        self._house.devices.subscribe(self._take_state)

    def _connection_changed(self) -> None:
        with self._changed:
            self._announce = self._broker.connected
            self._changed.notify_all()

    def _take_birth(self, message: Message) -> None:
        with self._changed:
            self._announce = self._announce or message.payload == b"online"
            self._changed.notify_all()

    def _take_state(self, name: str, _state: dict[str, Any]) -> None:
        with self._changed:
            self._states.add(name)
            self._changed.notify_all()

    def _take_order(self, message: Message) -> None:
        name = message.topic.split("/")[-2]
        if message.retained or not message.payload:
            logger.warning("%s: a command that the broker kept was ignored", name)
            return
        late = not self._pulse.fresh()
        deadline_s = self._clock.monotonic() + (
            0.0 if late else min(message.expires_s or COMMAND_VALID_S, COMMAND_VALID_S)
        )
        with self._changed:
            if self._stopping:
                return
            waiting = self._orders.setdefault(name, deque(maxlen=_MAX_ORDERS))
            waiting.append((message.payload, message.key, deadline_s))
            if len(waiting) == 1:
                self._pool.submit(self._carry_out, name)

    def _carry_out(self, name: str) -> None:
        """Carries out what waits for a device, in order."""
        while True:
            with self._changed:
                payload, key, deadline_s = self._orders[name][0]
            try:
                self._command(name, payload, key=key, deadline_s=deadline_s)
            except (EdgewiseError, ValueError) as error:
                logger.warning("Home Assistant's command for %s: %s", name, error)
            except Exception:
                logger.exception("Home Assistant's command for %s failed", name)
            with self._changed:
                self._states.add(name)  # told again, so that what did not come true is not shown as if it had
                self._changed.notify_all()
                self._orders[name].popleft()
                if not self._orders[name]:
                    return

    def _command(self, name: str, payload: bytes, *, key: str, deadline_s: float) -> None:
        command, arguments = parse_order(self._house.devices.get(name).settings, payload)
        left_ns = int((deadline_s - self._clock.monotonic()) * 1e9)
        action = Action(
            device=name,
            command=command,
            arguments=arguments,
            key=f"home-assistant/{key or secrets.token_hex(16)}",
            expires_ns=self._clock.time_ns() + left_ns,
            cause="home-assistant",
            origin=Origin.APP,
            deadline_s=deadline_s,
        )
        self._house.command(action, client="mqtt")

    def _run(self) -> None:
        while True:
            with self._changed:
                if not (self._announce or self._news or self._states or self._events):
                    self._changed.wait(BEAT_S)
                if self._stopping:
                    return
            try:
                self._tell()
            except Exception:
                logger.exception("Home Assistant could not be told")
                with self._changed:
                    self._changed.wait(BEAT_S)

    def _tell(self) -> None:
        if not self._broker.connected:
            with self._changed:
                self._events.clear()
                self._changed.wait(BEAT_S)
            return
        with self._changed:
            announce, self._announce = self._announce, False
            news, self._news = self._news, None
            states, self._states = self._states, set()
            values: dict[tuple[str, str], Value] = {}
            if self._clock.monotonic() >= self._next_values_s:
                self._next_values_s = self._clock.monotonic() + BEAT_S
                values = {place: value for place, value in self._values.items() if value is not None}
            events = list(self._events)
            self._events.clear()
        if news:
            self._look(news)
        if announce or news or self._unfinished:
            self._again = self._again or announce
            self._tell_entities()
        if self._settings is None:
            return
        self._broker.publish(f"{self._broker.base}/pulse", self._pulse.beat())
        for name in self._house.devices.names() if announce else states:
            self._tell_state(name)
        self._tell_values(values)
        self._tell_versions(again=announce)
        now = self._clock.monotonic()
        ripe = [event for due_s, event in self._deferred if due_s <= now]
        self._deferred = [(due_s, event) for due_s, event in self._deferred if due_s > now]
        self._tell_events([*ripe, *events])
        self._tell_pictures()

    def _look(self, settings: Settings) -> None:
        """Sees what the node has now, and lets go of what it gave up."""
        # Those that are others now count their pictures anew, and their channels may be of another kind.
        others, here = self._sights.look(settings), set(self._sights.pipelines)
        self._shown = {name: number for name, number in self._shown.items() if name not in others}
        self._channels = {place: entity for place, entity in self._channels.items() if place[0] not in others}
        self._seen = {name: kinds for name, kinds in self._seen.items() if name in here}
        with self._changed:
            self._values = {place: value for place, value in self._values.items() if place[0] in here}

    def _entities(self) -> list[Entity]:
        if self._settings is None:
            return []
        devices, describer = self._house.devices, self._describer
        return [
            *(describer.device(name, devices.get(name).settings) for name in devices.names()),
            *(entity for name in self._sights.cameras for entity in describer.camera(name)),
            *(describer.events(name, self._kinds(name)) for name in self._sights.pipelines),
            *(describer.model(name) for name in self._sights.versions()),
            *self._channels.values(),
        ]

    def _kinds(self, name: str) -> set[str]:
        """Kinds of event that a pipeline sees, as far as is known."""
        return {*EVENT_KINDS, *self._sights.kinds, *self._seen.get(name, ())}

    def _tell_entities(self) -> None:
        # A channel that was known yesterday may speak again; it is taken out with its source.
        sources = [self._describer.channel_topic(name, "") for name in self._sights.pipelines] if self._settings else []

        def lasts(states: Collection[str]) -> bool:
            return any(state.startswith(source) for state in states for source in sources)

        self._unfinished = True  # until it is done: what fails in between is done again
        self._unfinished = not self._announcements.tell(self._entities(), lasts=lasts, again=self._again)
        self._again = False

    def _tell_state(self, name: str) -> None:
        topic = f"{self._broker.base}/device/{name}"
        devices = self._house.devices
        facts = devices.get(name).state
        state = state_of({key: value for key, value in facts.items() if key not in {"available", "problem"}})
        if state is not None:
            self._broker.publish(f"{topic}/state", encode_state(state), retain=True, qos=1)
        online = b"online" if facts.get("available") and state is not None else b"offline"
        self._broker.publish(f"{topic}/availability", online, retain=True, qos=1)
        hold = devices.hold(name)
        attributes = {
            "held_by": hold.origin.value if hold else None,
            "due": devices.due(name) or None,
            "problem": facts.get("problem"),
            "reason": facts.get("reason"),
        }
        self._broker.publish(f"{topic}/attributes", msgspec.json.encode(attributes), retain=True, qos=1)

    def _tell_values(self, values: Mapping[tuple[str, str], Value]) -> None:
        """The newest value of each channel, once for each change."""
        for (source, channel), value in values.items():
            if source not in self._sights.pipelines:
                continue
            if (source, channel) not in self._channels:
                number = isinstance(value, int | float)
                entity = self._describer.channel(source, channel, binary=isinstance(value, bool), number=number)
                self._channels[source, channel] = entity
                self._announcements.add(entity)
            said = ("ON" if value else "OFF") if isinstance(value, bool) else str(value)
            # Retained: Home Assistant begins to listen a moment after it was told of a channel.
            self._broker.publish(self._describer.channel_topic(source, channel), said[:255].encode(), retain=True)
        with self._changed:
            for place, value in values.items():
                if self._values.get(place) == value:
                    self._values[place] = None

    def _tell_versions(self, *, again: bool) -> None:
        versions = dict(self._sights.versions())
        for name, (installed, latest) in versions.items():
            if again or self._versions.get(name) != (installed, latest):
                told = {"installed_version": installed, "latest_version": latest}
                self._broker.publish(f"{self._broker.base}/model/{name}", msgspec.json.encode(told), retain=True, qos=1)
        self._versions = versions

    def _tell_events(self, events: Sequence[Event]) -> None:
        for event in events:
            topic = f"{self._broker.base}/camera/{event.source}"
            if event.source not in self._sights.pipelines:
                continue
            kinds = self._kinds(event.source)
            if event.kind not in kinds:
                if len(kinds) >= _MAX_KINDS:
                    continue
                self._seen.setdefault(event.source, set()).add(event.kind)
                self._announcements.add(self._describer.events(event.source, self._kinds(event.source)))
                self._deferred.append((self._clock.monotonic() + BEAT_S, event))  # once the new kind is known there
                continue
            facts = {key: value for key, value in event.body.items() if isinstance(value, str | int | float | bool)}
            self._broker.publish(f"{topic}/event", msgspec.json.encode({**facts, "event_type": event.kind}), qos=1)
            self._broker.publish(f"{topic}/activity", b"ON")

    def _tell_pictures(self) -> None:
        if self._settings is None or not self._settings.snapshot_s or self._clock.monotonic() < self._next_picture_s:
            return
        self._next_picture_s = self._clock.monotonic() + self._settings.snapshot_s
        for name in self._sights.cameras:
            if found := self._sights.picture(name, self._shown.get(name, 0)):
                self._shown[name], jpeg = found
                self._broker.publish(f"{self._broker.base}/camera/{name}/image", jpeg)
