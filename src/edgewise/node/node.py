"""A node: all organs of one machine, made from settings and joined.

Pictures go from sources through pipelines; what happened goes into the journal; the decider takes it from there, asks
the rules and commands the devices. The API reads and steers all of it. Order of starting and stopping: what takes
something in comes up last and goes down first.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import ClosedError, EdgewiseError, EngineError, NotFoundError, SettingsError
from edgewise.media.images import limit_threads
from edgewise.node import kin, organs
from edgewise.node.acceptances import Acceptances
from edgewise.node.accounting import EVERY_S, Accounting
from edgewise.node.alarms import Alarms
from edgewise.node.decider import Decider
from edgewise.node.desired import begun
from edgewise.node.gathering import Gathering
from edgewise.node.handing import LOOK_S
from edgewise.node.patience import append_patiently
from edgewise.node.pool import Pool
from edgewise.node.reconcile import Kind, Step
from edgewise.node.reporting import make_telling
from edgewise.node.second import SecondOpinion
from edgewise.node.settings import exposure
from edgewise.node.settling import shape_of
from edgewise.node.streams import AUDIT, DECISIONS, EVENTS, QUERIES, READINGS
from edgewise.node.upkeep import Upkeep
from edgewise.node.witness import DecisionWitness
from edgewise.pipeline.base import Origin
from edgewise.pipeline.batching import Batcher
from edgewise.pipeline.kinds import AlarmSettings
from edgewise.pipeline.rules import RuleEngine
from edgewise.pipeline.scheduler import Scheduler
from edgewise.pipeline.sources.below import BelowSource
from edgewise.telemetry.resources import ResourceMonitor
from edgewise.types import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from edgewise.link.membership import Bond
    from edgewise.link.relay import Perform, Relay
    from edgewise.link.way import Way
    from edgewise.models.model import Model
    from edgewise.node.parenting import Parenting
    from edgewise.node.settings import Settings
    from edgewise.node.steering import Steering
    from edgewise.people.store import Person
    from edgewise.pipeline.base import Action, Event, Hold, Outcome, Reading
    from edgewise.pipeline.recorder import Recorder
    from edgewise.pipeline.rules import RuleSettings
    from edgewise.pipeline.runner import PipelineRunner
    from edgewise.pipeline.safekeeping import Safety
    from edgewise.pipeline.settings import PipelineSettings

# How often the node looks at what commands beside it changed.
_KIN_S = 5.0
# Who waits for the rules to be taken over looks this often whether the node stops.
_LOOK_S = 0.1

logger = logging.getLogger(__name__)


class Node:
    """One node. Making it opens its data and checks its rules and models' names; ``start`` sets it going; ``stop`` is
    called in any case, also when ``start`` failed.

    Args:
        settings: From ``edgewise.node.settings.load``.
        clock: Time; the machine's own by default.

    Raises:
        SettingsError: Something in the settings leads nowhere; or other machines reach the node, and nobody would have
            to sign in.
        RuleError: A rule does not compile.
        ConflictError: Another process runs on the same data.
        CorruptError: The data is damaged.

    Attributes:
        settings: What it does now: its own file, and what its parent sets over it.
        journal: Streams ``alarms``, ``events``, ``decisions``, ``readings``, ``audit``, ``queries``.
        blobs: Snapshots by digest.
        people: Whom it knows by face.
        accounts: Who may use it.
        devices: What it commands.
        pipelines: Running pipelines by name.
        repository: Its models.
        scheduler: Hands out turns to all that computes.
        pool: Where what requests ask for is computed.
        clips: Records events.
        parenting: What it is to its children; None where it takes none.
        way: To its parent; None while it has none.
        links: Send records and blobs to its parent; None while it has none.
        relay: Answers what its parent hands down; None while it has none.
        second: Asks its parent what it is unsure of.
        lake: Tables of everything that came in, and SQL over them; None where it keeps none.
        landing: Feeds its lake; None where it keeps none.
        resources: History of what the process uses.
        started_ns: When it was made, nanoseconds since the Unix epoch.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.started_ns = self.clock.time_ns()
        self._settling = kin.make_settling(settings, clock=self.clock)
        own, settings = settings, begun(settings, self._settling.combined)
        self.settings = settings
        self._rules = RuleEngine(settings.rules, settings.node.location)
        self.resources = ResourceMonitor()
        self.pipelines: dict[str, PipelineRunner] = {}
        self._gatherings: dict[str, Gathering] = {}
        self._stopping = threading.Event()
        with contextlib.ExitStack() as opened:  # closes what is open when the next cannot be opened
            opened.callback(self.resources.stop)
            self.repository = organs.open_repository(msgspec.structs.replace(settings, models=own.models))
            opened.callback(self.repository.close)
            self.people = organs.open_store(settings, clock=self.clock)
            opened.callback(self.people.close)
            self._open_devices(settings, opened)
            self._fetch = kin.make_fetch(self.clock)
            self.journal, self.blobs = organs.open_journal(settings, clock=self.clock, fetch=self._fetch)
            opened.callback(self.blobs.close)
            opened.callback(self.journal.close)
            organs.forget_consumers(settings, self.journal)
            self._open_kinship(settings, opened)
            self.lake = organs.make_lake(settings, clock=self.clock)
            self.landing = organs.make_landing(settings, self.journal, self.lake, clock=self.clock)
            self._upkeep = Upkeep(self._retain)
            opened.callback(self._upkeep.stop)
            self._open_accounts(settings, opened)
            self._open_computing(settings, opened)
            self._make_deciding(settings)
            self._opened = opened.pop_all()

    def _open_devices(self, settings: Settings, opened: contextlib.ExitStack) -> None:
        """What the node commands, and Home Assistant, which commands the node."""
        broker = organs.make_broker(settings, clock=self.clock)
        self.devices = organs.make_devices(settings, broker, told=self._tell_safety, clock=self.clock)
        opened.callback(self.devices.close)
        self._home_assistant = organs.make_home_assistant(
            settings,
            broker,
            house=self,
            pipelines=lambda: self.pipelines,
            repository=self.repository,
            clock=self.clock,
        )

    def _open_kinship(self, settings: Settings, opened: contextlib.ExitStack) -> None:
        """What it is to its children, and what it will need once it has a parent."""
        self.parenting: Parenting | None = None
        self._looking: Upkeep | None = None
        if settings.https:
            self.parenting = kin.make_parenting(
                settings, self.journal, self.blobs, record=self.record_change, clock=self.clock
            )
            opened.callback(self.parenting.close)
            self._looking = Upkeep(self.parenting.handing.wishes.refresh, interval_s=LOOK_S)
            opened.callback(self._looking.stop)
        self._bond: Bond | None = None
        self._settle_parent()
        self.way: Way | None = None
        self.links: kin.Links | None = None
        self.relay: Relay | None = None
        self.second = SecondOpinion()
        self._steering: Steering | None = None
        self._perform: Perform | None = None
        self._gate = threading.Lock()
        self._kinship = threading.Lock()
        self._kin = Upkeep(self._look_at_kin, interval_s=_KIN_S)
        opened.callback(self._kin.stop)

    def _open_accounts(self, settings: Settings, opened: contextlib.ExitStack) -> None:
        """Who may use it, and the log of what they changed."""
        self.accounts = organs.open_accounts(settings, clock=self.clock)
        opened.callback(self.accounts.store.close)
        if fault := exposure(settings, accounts=self.accounts.in_use):
            raise SettingsError(f"{fault.field}: {fault.problem}", hint=fault.hint, field=fault.field)
        accounting = Accounting(self.accounts, self.journal, stream=AUDIT, node=settings.node.name)
        self._accounting = Upkeep(accounting.round, interval_s=EVERY_S)
        opened.callback(self._accounting.stop)

    def _open_computing(self, settings: Settings, opened: contextlib.ExitStack) -> None:
        """What shares out the cores, and what takes turns of them beside the pipelines."""
        self.scheduler = Scheduler(cores=organs.workers(settings))
        self._batcher = Batcher(cores=self.scheduler.cores)
        self.pool = Pool(self.scheduler, max_waiting=settings.node.max_waiting, max_wait_s=settings.node.max_wait_s)
        opened.callback(self.pool.close)
        self.clips = organs.make_clips(
            settings,
            journal=self.journal,
            blobs=self.blobs,
            lane=self.scheduler.lane,
            stopped=self._stopping,
            clock=self.clock,
        )

    def _make_deciding(self, settings: Settings) -> None:
        """What asks the rules, writes down what they decide, and raises alarms."""
        self._acceptances = {stream: self._acceptances_of(stream) for stream in (EVENTS, READINGS)}
        self._witness = DecisionWitness(self.journal, settings.rules)
        self._decisions = organs.make_decisions(
            settings, self.journal, complete=self._witness.complete, clock=self.clock
        )
        self._decider = Decider(
            self._rules,
            journal=self.journal,
            decisions=self._decisions,
            devices=self.devices,
            people=self.people,
            clock=self.clock,
            acceptances=self._acceptances,
        )
        sirens = [name for name, device in settings.devices.items() if isinstance(device, AlarmSettings)]
        self._alarms = Alarms(self.journal, devices=sirens, clock=self.clock)

    def start(self) -> None:
        """Loads the models of the settings, then starts devices, rules and pipelines.

        Raises:
            MissingExtraError: A model's runtime is not installed.
            PackageError: A model is broken.
        """
        limit_threads(1)  # the workers share out the cores, one picture each
        for name in self._wanted_models():
            self.repository.get(name)
        self.devices.start()
        self._decider.start()
        self._alarms.start()
        self.pipelines = {
            name: self._make_pipeline(name, pipeline, self.clips.recorders.get(name))
            for name, pipeline in self.settings.pipelines.items()
        }
        self.clips.start()
        for runner in self.pipelines.values():
            self._begin(runner)
        self._settling.start(self, shape_of(self.settings))
        if self._home_assistant:
            self._home_assistant.start()
        self.resources.start()
        self._upkeep.start()
        self._accounting.start()
        self._look_at_kin()
        self._kin.start()
        if self._looking:
            self._looking.start()
        if self.landing:
            self.landing.start()

    def stop(self) -> None:
        """Stops taking in, finishes what was begun, brings devices to their fail-safe state, closes everything."""
        with self._opened:
            self._stopping.set()
            with self._kinship:
                steering = self._steering
            if steering:
                steering.stop()
            self._settling.stop()
            try:
                for gathering in self._gatherings.values():
                    gathering.stop()
                for runner in self.pipelines.values():
                    runner.stop()
                self.clips.stop()
                self._decider.stop()
            finally:  # whatever went wrong before it
                for error in self.devices.fail_safe():
                    logger.warning("not in its fail-safe state: %s", error)
            if self._home_assistant:
                self._home_assistant.close()
            self.pool.close()
            self._upkeep.stop()
            self._accounting.stop()
            self._alarms.stop()
            self._kin.stop()
            if self.relay:
                self.relay.stop()
            if self.second.consulting:
                self.second.consulting.stop()
            if self.links:
                self.links.stop()
            if self.way:
                self.way.spending.keep()
            if self.landing:
                self.landing.stop()
            self.journal.close()
            self._decider.join()
            self._alarms.join()

    def carry_out(self, step: Step, wanted: Settings) -> None:
        """Changes one thing while all else goes on; see ``edgewise.node.settling.Workshop``.

        Raises:
            EdgewiseError: It does not work; all is as before.
            ClosedError: The node stops.
        """
        try:
            self._take_step(step, wanted)
        finally:
            if self._home_assistant:
                self._home_assistant.follow(self.settings)

    def _take_step(self, step: Step, wanted: Settings) -> None:
        match step.kind:
            case Kind.LOAD:
                name = organs.model_name(step.name)
                organs.find_model(name, self.repository)
                self.repository.get(name)
                self._set(models=(*self.settings.models, step.name))
            case Kind.RULES:
                self._swap_rules(wanted.rules)
            case Kind.STOP:
                self._stop_pipeline(step.name)
            case Kind.REPLACE | Kind.START:
                self._start_pipeline(step.name, wanted)
            case Kind.PARENT:
                self._set(parent=wanted.parent)
                self._renew_links()

    def _set(self, **sections: Any) -> None:
        self.settings = msgspec.structs.replace(self.settings, **sections)

    def _swap_rules(self, rules: tuple[RuleSettings, ...]) -> None:
        engine = RuleEngine(rules, self.settings.node.location)
        done = threading.Event()

        def adopted() -> None:
            self._rules = engine
            self._witness.set_rules(rules)
            self._set(rules=rules)
            done.set()

        self._decider.swap(engine, adopted)
        while not done.wait(_LOOK_S):
            if self._stopping.is_set():
                raise ClosedError("The node stops")

    def _stop_pipeline(self, name: str) -> None:
        if runner := self.pipelines.get(name):
            # Others may be walking through the old ones.
            self.pipelines = {other: each for other, each in self.pipelines.items() if other != name}
            if gathering := self._gatherings.pop(name, None):
                gathering.stop()
            runner.stop()
        self.clips.remove(name)
        self._set(pipelines={other: each for other, each in self.settings.pipelines.items() if other != name})

    def _start_pipeline(self, name: str, wanted: Settings) -> None:
        """Starts a pipeline, in place of the one of its name; that one goes on when this one cannot be made."""
        pipeline = wanted.pipelines[name]
        for model in organs.pipeline_models(msgspec.structs.replace(wanted, pipelines={name: pipeline})):
            organs.find_model(model, self.repository)
        recorder = organs.make_recorder(
            name, pipeline, self.settings, clips=self.clips, lane=self.scheduler.lane, clock=self.clock
        )
        runner = self._make_pipeline(name, pipeline, recorder)
        self._stop_pipeline(name)
        if recorder:
            self.clips.add(recorder)
        self._set(pipelines={**self.settings.pipelines, name: pipeline})
        self._begin(runner)
        self.pipelines = {**self.pipelines, name: runner}

    def _begin(self, runner: PipelineRunner) -> None:
        runner.start()
        if isinstance(runner.source, BelowSource):
            gathering = self._gatherings[runner.name] = Gathering(
                self.journal, runner.source, node=self.settings.node.name
            )
            gathering.start()

    def _make_pipeline(self, name: str, pipeline: PipelineSettings, recorder: Recorder | None) -> PipelineRunner:
        return organs.make_pipeline(
            name,
            pipeline,
            lane=self.scheduler.lane(weight=pipeline.weight),
            tools=self,
            on_event=self.accept,
            on_readings=self.accept_readings,
            store=self._store_snapshot,
            store_exact=self._store_exact,
            is_heard=lambda event: self._rules.hears(event),
            batcher=self._batcher,
            recorder=recorder,
            second=self.second,
            clock=self.clock,
        )

    def model(self, name: str) -> Model:
        """An open model, for transforms; see ``edgewise.pipeline.base.Tools``."""
        return self.repository.get(name).model

    def folder(self, name: str) -> Path:
        """A folder for what transforms of that name learn; see ``edgewise.pipeline.base.Tools``."""
        return organs.learned_folder(self.settings, name)

    def answer_parent(self, perform: Perform) -> None:
        """From now on what the parent hands down is answered: the API is there."""
        self._perform = perform
        self._start_relay()

    def accept(self, event: Event) -> None:
        """Takes an event in: when this returns it is on disk. While the disk is full it waits, and frames are dropped
        rather than what was seen in them.

        Raises:
            RetryError: The node was stopped while it waited.
        """
        body = {**event.body, "source": event.source}
        if clip := self.clips.begin(event):
            body["clip"] = clip
        entry = Entry(event.kind, body, event.blobs, event.time_ns)
        accepted = append_patiently(self.journal, EVENTS, [entry], stopped=self._stopping)
        self._acceptances[EVENTS].accept(accepted)
        if self._home_assistant:
            self._home_assistant.take_event(event)
        if clip:
            self.clips.link(clip, event.source, accepted[0])

    def accept_readings(self, readings: Sequence[Reading]) -> None:
        """Takes readings in: when this returns they are on disk; see ``accept``."""
        entries = [
            Entry("reading", {"source": reading.source, "values": dict(reading.values)}, time_ns=reading.time_ns)
            for reading in readings
        ]
        self._acceptances[READINGS].accept(append_patiently(self.journal, READINGS, entries, stopped=self._stopping))
        if self._home_assistant:
            self._home_assistant.take_readings(readings)

    def enrol(self, name: str, photos: Sequence[bytes], *, preferences: Mapping[str, Any]) -> Person:
        """Makes a person known by photos; see ``edgewise.people.enrol.Enrolment.enrol``."""
        detector, embedder = (self.model(model) for model in organs.face_models(self.settings))
        return organs.enrolment(detector, embedder, self.people).enrol(
            name, list(photos), preferences=dict(preferences)
        )

    def record_change(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Writes what somebody changed or tried to (people, devices, models, accounts) into the ``audit`` stream."""
        self.journal.append(AUDIT, [Entry(kind, dict(facts))])

    def record_query(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Writes who asked the lake what into the ``queries`` stream: its own, so that many a question does not wash
        out who changed what.
        """
        self.journal.append(QUERIES, [Entry(kind, dict(facts))])

    def command(self, action: Action, *, client: str = "") -> Outcome:
        """Commands a device for a person or an app, and writes down what came of it, whatever it was.

        Args:
            action: What is wanted.
            client: Where the request came from.

        Raises:
            EdgewiseError: As ``Devices.perform``.
        """
        body: dict[str, Any] = {**msgspec.to_builtins(action), "client": client}
        try:
            outcome = self.devices.perform(action)
        except Exception as error:
            told = error if isinstance(error, EdgewiseError) else EngineError(repr(error))
            body["error"] = {"code": told.code, "message": told.message, "hint": told.hint}
            self._tell("device.command", {**body, "status": "failed"})
            raise
        body["hold"] = msgspec.to_builtins(outcome.hold)
        self._tell("device.command", {**body, "status": outcome.status.value, "state": outcome.state})
        return outcome

    def release(self, device: str, *, cause: str, client: str = "") -> Hold | None:
        """Ends the hold of a device for a person or an app; returns who held it.

        Raises:
            NotFoundError: No device has that name.
        """
        hold = self.devices.release(device)
        if hold is not None:
            facts = {"device": device, "cause": cause, "client": client, "hold": msgspec.to_builtins(hold)}
            self._tell("device.released", facts)
        return hold

    def _tell_safety(self, safety: Safety) -> None:
        """Writes down what the node did with a device by itself."""
        facts: dict[str, Any] = {"device": safety.device, "command": safety.command, "reason": safety.reason.value}
        facts |= {"origin": Origin.SAFETY.value, "state": safety.state, "status": "failed" if safety.error else "done"}
        if safety.error:
            facts["error"] = {"code": safety.error.code, "message": safety.error.message, "hint": safety.error.hint}
        self._tell("device.fail_safe", facts)

    def _tell(self, kind: str, facts: dict[str, Any]) -> None:
        """What was done is told, however long the disk stays full."""
        append_patiently(self._decisions, DECISIONS, [Entry(kind, facts)], stopped=self._stopping)

    def _acceptances_of(self, stream: str) -> Acceptances:
        newest = self.journal.read(stream, limit=1, newest_first=True)
        return Acceptances(self.clock, before=newest[0].sequence if newest else 0)

    def pipeline(self, name: str) -> PipelineRunner:
        """A running pipeline.

        Raises:
            NotFoundError: None has that name.
        """
        if name not in self.pipelines:
            raise NotFoundError(f"No camera is named {name!r}", kind="camera", name=name)
        return self.pipelines[name]

    def _look_at_kin(self) -> None:
        """Sees what commands beside the node changed: children that were removed, a parent that was joined."""
        if self.parenting:
            self.parenting.keep()
        with self._kinship:
            self._part()
            if self.way is None and not self._stopping.is_set():
                self._find_parent()

    def _part(self) -> None:
        """Ends what goes to a parent that was left, or is called in another way now."""
        try:
            bond = kin.bond_of(self.settings)
        except EdgewiseError as error:  # nothing is known of another
            logger.warning("whose child this node is cannot be read: %s %s", error, error.hint)
            return
        before = self._bond
        if bond == before or self._stopping.is_set():
            return
        if before:
            self._end_links()
            if bond is None or bond.parent != before.parent:
                logger.info("the parent was left: nothing goes there any more")
                self._settling.part()
        self._settle_parent()
        self._bond = bond

    def _end_links(self) -> None:
        steering, self._steering = self._steering, None
        with self._gate:  # nobody begins another relay by the way that ends
            relay, self.relay = self.relay, None
            way, self.way = self.way, None
        consulting, self.second.consulting = self.second.consulting, None
        links, self.links = self.links, None
        self._fetch.detach()
        for each in (steering, relay, consulting, links):
            if each:
                each.stop()
        if way:
            way.spending.keep()

    def _settle_parent(self) -> None:
        wishes = self.parenting.handing.wishes if self.parenting else None
        kin.settle_parent(self.settings, self.journal, self.blobs, wishes)

    def _find_parent(self) -> None:
        """Has everything call the parent, once there is one."""
        try:
            way = kin.open_way(self.settings, clock=self.clock)
        except EdgewiseError as error:
            logger.warning("nothing goes to the parent: %s", error)
            return
        if way is None or way.membership.bond != self._bond:  # that one was joined since: the next look sees to it
            return
        self.way = way
        self._fetch.attach(way.connect, way.spending)
        self.second.consulting = kin.make_consulting(way, clock=self.clock)
        self._begin_links(way)
        handing = self.parenting.handing if self.parenting else None
        self._steering = kin.make_steering(way, settling=self._settling, handing=handing, clock=self.clock)
        self._steering.start()

    def _begin_links(self, way: Way) -> None:
        links = kin.make_links(
            self.settings,
            self.journal,
            self.blobs,
            way=way,
            fleet=self.parenting.fleet if self.parenting else None,
            telling=make_telling(self),
            clock=self.clock,
        )
        self.links = links
        links.start()
        self._start_relay()

    def _start_relay(self) -> None:
        with self._gate:
            if self.way and self.relay is None and self._perform and self.settings.parent.may_ask:
                self.relay = kin.make_relay(
                    self.settings,
                    self._perform,
                    way=self.way,
                    fleet=self.parenting.fleet if self.parenting else None,
                    clock=self.clock,
                )
                self.relay.start()

    def _renew_links(self) -> None:
        """Lets records and blobs go up in another way."""
        with self._kinship:
            if self.way is None or self._stopping.is_set():
                return
            if self.links:
                self.links.stop()
            self.way.spending.bound(self.settings.parent.budget)
            self._begin_links(self.way)

    def _retain(self) -> None:
        self.journal.retain()
        self.blobs.retain()
        if self.parenting:
            self.parenting.blobs.expire()

    def _store_snapshot(self, jpeg: bytes) -> str:
        return self.blobs.put(jpeg, media_type="image/jpeg")

    def _store_exact(self, png: bytes) -> str:
        return self.blobs.put(png, media_type="image/png")

    def _wanted_models(self) -> list[str]:
        """Names of the models that the settings list."""
        return [organs.model_name(model) for model in self.settings.models]
