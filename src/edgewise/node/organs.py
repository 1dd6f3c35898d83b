"""How each organ of a node is made from settings. The node joins them; commands that need one alone open it here."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import platform
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise import zoo
from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import NotFoundError, SettingsError
from edgewise.journal.base import StreamSettings, WhenFull
from edgewise.journal.custody import key_at
from edgewise.lake.base import LakeSettings
from edgewise.media.mask import Mask
from edgewise.models.package import load_manifest
from edgewise.node.kin import link_folder
from edgewise.node.library import default_cache, session_options
from edgewise.node.repository import ModelRepository
from edgewise.node.settings import Settings
from edgewise.node.streams import DECISIONS, STREAMS
from edgewise.pipeline.sources.below import BelowSettings

if TYPE_CHECKING:
    from edgewise.accounts.directory import Directory
    from edgewise.accounts.store import AccountStore
    from edgewise.journal.blobs import BlobStore, Fetch
    from edgewise.journal.cipher import Cipher
    from edgewise.journal.disk import DiskJournal
    from edgewise.journal.reader import DiskReader
    from edgewise.lake.base import Lake
    from edgewise.models.model import Model
    from edgewise.node.clips import Clips
    from edgewise.node.homeassistant import HomeAssistant, House
    from edgewise.node.landing import Landing
    from edgewise.node.sealing import Readable, Report, SealedStream
    from edgewise.node.why import Explainer
    from edgewise.people.enrol import Enrolment
    from edgewise.people.store import PeopleStore, Person
    from edgewise.pipeline.base import Event, Reading, Tools
    from edgewise.pipeline.batching import Batcher
    from edgewise.pipeline.devices import Devices
    from edgewise.pipeline.joint import Second
    from edgewise.pipeline.recorder import Recorder
    from edgewise.pipeline.runner import PipelineRunner
    from edgewise.pipeline.safekeeping import Safety
    from edgewise.pipeline.scheduler import Lane
    from edgewise.pipeline.settings import PipelineSettings
    from edgewise.pipeline.sinks.mqtt import Broker
    from edgewise.types import Entry

_CLOCK = SystemClock()
ACCOUNTS = "accounts.db"


PIPELINE = "pipeline/"
"""How the consumer of a pipeline begins that takes readings of the nodes below."""


def data_folder(settings: Settings) -> Path:
    """The node's folder, made when it is not there (readable by its owner alone).

    Raises:
        SettingsError: It cannot be made or written to.
    """
    folder = Path(settings.node.data)
    hint = "Name another with node.data (edgewise up --data)."
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"node.data: cannot make {folder}: {error.strerror}", hint=hint, field="node.data"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"node.data: cannot write into {folder}", hint=hint, field="node.data")
    return folder


def open_journal(
    settings: Settings, *, clock: Clock = _CLOCK, fetch: Fetch | None = None
) -> tuple[DiskJournal, BlobStore]:
    """The node's journal, and the blobs its records point to.

    Args:
        settings: Of the node.
        clock: Time.
        fetch: Asks the parent for blobs that are not here any more.

    Raises:
        ConflictError: Another process runs on the same data.
        SettingsError: The key to seal with cannot be read, or others can read it.
    """
    from edgewise.journal.blobs import BlobStore
    from edgewise.journal.disk import DiskJournal

    folder = data_folder(settings) / "journal"
    blobs = BlobStore(
        folder / "blobs",
        max_bytes=settings.node.snapshot_bytes,
        bounds={"video/mp4": settings.node.clip_bytes, "image/png": settings.node.evidence_bytes},
        max_age_s=settings.node.media_age_s,
        clock=clock,
        cipher=open_cipher(settings),
        fetch=fetch,
    )
    streams = {name: getattr(settings.journal, name) for name in STREAMS}
    has_parent = link_folder(settings).membership is not None

    def held(stream: str) -> StreamSettings:
        goes_up = has_parent and (settings.parent.below is None or stream in settings.parent.below)
        waits = goes_up or settings.lake is not None
        return StreamSettings(
            max_bytes=settings.held.stream_bytes,
            max_age_s=settings.held.max_age_s,
            when_full=WhenFull.BLOCK if waits else WhenFull.DROP_OLDEST,
        )

    journal = DiskJournal(
        folder,
        node=settings.node.name,
        streams=streams,
        blobs=blobs,
        clock=clock,
        cipher=blobs.cipher,
        held=held,
        held_bytes=settings.held.max_bytes,
    )
    return journal, blobs


def open_cipher(settings: Settings) -> Cipher | None:
    """What seals what the node keeps; None when the settings name no key.

    Raises:
        SettingsError: The key cannot be read, or others can read it.
    """
    from edgewise.journal import cipher

    journal = settings.journal
    return cipher.open_cipher(journal.key_file, older=journal.old_key_files) if journal.key_file else None


def forget_consumers(settings: Settings, journal: DiskJournal) -> None:
    """Forgets consumers that the settings no longer name, so that nothing waits for them: a lake that is not kept any
    more, pipelines that are gone. Should one come back, its other side knows how far it got.
    """
    gathering = {
        f"{PIPELINE}{name}"
        for name, pipeline in settings.pipelines.items()
        if isinstance(pipeline.source, BelowSettings)
    }
    forget(
        journal,
        lambda name: (
            (name == "lake" and settings.lake is None) or (name.startswith(PIPELINE) and name not in gathering)
        ),
        node=settings.node.name,
    )


def forget(journal: DiskJournal, gone: Callable[[str], bool], *, node: str) -> None:
    """Forgets the consumers of a node's journal of whose names ``gone`` is true."""
    for balance in journal.audit():
        if gone(balance.consumer):
            journal.forget(key_at(balance.node, balance.stream, own=node), balance.consumer)


def read_journal(settings: Settings) -> DiskReader:
    """The node's journal for reading alone, also beside a running node.

    Raises:
        NotFoundError: The node has none yet.
    """
    from edgewise.journal.database import DATABASE
    from edgewise.journal.reader import DiskReader

    folder = Path(settings.node.data) / "journal"
    if not (folder / DATABASE).exists():
        raise NotFoundError(
            f"There is no journal in {settings.node.data}",
            hint="Start the node once (edgewise up), or name its settings file with --config.",
            kind="journal",
            name=settings.node.data,
        )
    return DiskReader(folder, node=settings.node.name, cipher=open_cipher(settings))


def make_lake(settings: Settings, *, clock: Clock = _CLOCK) -> Lake | None:
    """The node's lake; None where it keeps none.

    Raises:
        MissingExtraError: The extra ``lake`` is not installed.
    """
    if settings.lake is None:
        return None
    from edgewise.lake import open_lake

    return open_lake(lake_settings(settings), clock=clock)


def make_landing(
    settings: Settings, journal: DiskJournal, lake: Lake | None, *, clock: Clock = _CLOCK
) -> Landing | None:
    """What feeds the lake; None where the node keeps none."""
    if settings.lake is None or lake is None:
        return None
    import random

    from edgewise.node.landing import Landing

    return Landing(
        journal,
        lake,
        node=settings.node.name,
        clock=clock,
        random=random.random,
        gather_s=settings.lake.gather_s,
    )


def lake_settings(settings: Settings) -> LakeSettings:
    """Where the node's lake is; when the settings do not say, in its own folder."""
    lake = settings.lake or LakeSettings()
    return lake if lake.folder or lake.s3 else msgspec.structs.replace(lake, folder=f"{settings.node.data}/lake")


def open_repository(settings: Settings) -> ModelRepository:
    """The models of the settings and of their pipelines (pulled when they are not here), then all that need no network:
    shipped ones, and those pulled before.
    """
    cache = default_cache()
    # A name is never a folder that happens to lie where the node was started.
    listed = [Path(model) if "/" in model else zoo.pull(model, cache) for model in settings.models]
    known = {load_manifest(folder).name for folder in listed}
    used = [zoo.pull(model, cache) for model in pipeline_models(settings) if model not in known]
    entries = [found for entry in zoo.names() if (found := zoo.find(entry.name, cache))]
    return ModelRepository([*listed, *used, *entries], options=session_options)


def learned_folder(settings: Settings, name: str) -> Path:
    """Where transforms of that name keep what they learned; made when it is not there."""
    folder = data_folder(settings) / "learned" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def pipeline_models(settings: Settings) -> list[str]:
    """Names of the models that pipelines use, each once."""
    from edgewise.pipeline.transforms.classify import ClassifySettings
    from edgewise.pipeline.transforms.command import CommandSettings
    from edgewise.pipeline.transforms.detect import DetectSettings
    from edgewise.pipeline.transforms.recognise import RecogniseSettings
    from edgewise.pipeline.transforms.voice_activity import VoiceActivitySettings
    from edgewise.pipeline.transforms.wake_word import WakeWordSettings

    one_model = DetectSettings | ClassifySettings | VoiceActivitySettings | WakeWordSettings | CommandSettings
    names: list[str] = []
    for pipeline in settings.pipelines.values():
        for transform in pipeline.transforms:
            if isinstance(transform, one_model):
                names.append(transform.model)
            elif isinstance(transform, RecogniseSettings):
                names += [transform.detector, transform.embedder]
    return list(dict.fromkeys(names))


def models_in_use(settings: Settings) -> list[str]:
    """Names of the models that the settings list and that pipelines use, each once."""
    return list(dict.fromkeys([*map(model_name, settings.models), *pipeline_models(settings)]))


def model_name(name_or_path: str) -> str:
    """The name of a model that the settings list by name or path."""
    return load_manifest(Path(name_or_path)).name if "/" in name_or_path else name_or_path


def make_broker(settings: Settings, *, clock: Clock = _CLOCK) -> Broker | None:
    """The connection to the broker, which is not started yet; None when the settings name none."""
    from edgewise.pipeline.sinks.mqtt import Broker

    return Broker(settings.mqtt, node=settings.node.name, clock=clock) if settings.mqtt else None


def make_home_assistant(
    settings: Settings,
    broker: Broker | None,
    *,
    house: House,
    pipelines: Callable[[], Mapping[str, PipelineRunner]],
    repository: ModelRepository,
    clock: Clock = _CLOCK,
) -> HomeAssistant | None:
    """What tells Home Assistant of the node; None when it is not to know, and was told nothing before."""
    from edgewise.node.homeassistant import HomeAssistant
    from edgewise.node.sights import Sights

    memory = data_folder(settings) / "home-assistant.json"
    if broker is None or (settings.home_assistant is None and not memory.exists()):
        return None
    return HomeAssistant(
        settings.home_assistant,
        node=settings.node.name,
        house=house,
        sights=Sights(settings, pipelines=pipelines, repository=repository, models=models_in_use),
        broker=broker,
        memory=memory,
        clock=clock,
    )


def make_devices(
    settings: Settings, broker: Broker | None, *, told: Callable[[Safety], None], clock: Clock = _CLOCK
) -> Devices:
    """All devices: those with a topic on the broker, the others virtual."""
    from edgewise.pipeline.devices import Devices
    from edgewise.pipeline.ledger import Ledger
    from edgewise.pipeline.sinks.virtual import VirtualDevice

    devices = [
        broker.device(name, device) if broker and device.topic else VirtualDevice(name, device)
        for name, device in settings.devices.items()
    ]
    ledger = Ledger(data_folder(settings) / "commands.db")
    return Devices(devices, clock=clock, connections=[broker] if broker else [], ledger=ledger, told=told)


# Samples that wait at most where the settings say nothing: pictures are of use when they are new, while of a word no
# piece may be lost, and half a second of it is little.
_QUEUE, _QUEUE_OF_SOUND = 1, 16


def make_pipeline(
    name: str,
    settings: PipelineSettings,
    *,
    lane: Lane,
    tools: Tools,
    on_event: Callable[[Event], None],
    on_readings: Callable[[Sequence[Reading]], None],
    store: Callable[[bytes], str],
    store_exact: Callable[[bytes], str],
    is_heard: Callable[[Event], bool],
    batcher: Batcher,
    recorder: Recorder | None = None,
    second: Second | None = None,
    clock: Clock = _CLOCK,
) -> PipelineRunner:
    """A pipeline that is not started yet; what it sees goes to ``recorder`` too."""
    from edgewise.pipeline.base import Encoded, Gives
    from edgewise.pipeline.catalog import make_source, make_transform
    from edgewise.pipeline.evidence import NotedTools, Witness
    from edgewise.pipeline.runner import PipelineRunner

    source = make_source(name, settings.source, clock=clock)
    if recorder is not None and isinstance(source, Encoded) and not settings.mask:
        source.tap(recorder.packet)
    lent = [NotedTools(tools) for _ in settings.transforms]
    transforms = [make_transform(*each) for each in zip(settings.transforms, lent, strict=True)]
    return PipelineRunner(
        name,
        source,
        transforms,
        on_event,
        lane=lane,
        clock=clock,
        on_readings=on_readings,
        store=store,
        deadline_s=settings.deadline_s,
        queue=settings.queue or (_QUEUE_OF_SOUND if source.gives is Gives.SOUND else _QUEUE),
        when_full=settings.when_full,
        mask=Mask(settings.mask),
        on_frame=recorder.frame if recorder is not None else lambda _: None,
        witness=Witness(list(zip(settings.transforms, lent, strict=True)), store_exact, lane)
        if settings.evidence
        else None,
        is_heard=is_heard,
        batcher=batcher,
        second=second,
    )


def trust_folder(settings: Settings) -> Path:
    """Where the node's key stands."""
    return Path(settings.node.data) / "trust"


class LentTools:
    """What transforms are lent outside a running node."""

    def __init__(self, settings: Settings, repository: ModelRepository, people: PeopleStore) -> None:
        self.people = people
        self._settings = settings
        self._repository = repository

    def model(self, name: str) -> Model:
        """An open model of the settings."""
        return self._repository.get(name).model

    def folder(self, name: str) -> Path:
        """Where transforms keep what they learned."""
        return learned_folder(self._settings, name)


@contextlib.contextmanager
def open_tools(settings: Settings) -> Iterator[LentTools]:
    """Models and people of the settings, closed afterwards."""
    with contextlib.ExitStack() as opened:
        repository = open_repository(settings)
        opened.callback(repository.close)
        people = open_store(settings)
        opened.callback(people.close)
        yield LentTools(settings, repository, people)


def check_decisions(settings: Settings, journal: Readable) -> Report:
    """Follows the chain of decisions; see ``node.sealing.check``."""
    from edgewise.node.sealing import check

    return check(journal, DECISIONS, trust_folder(settings))


@contextlib.contextmanager
def open_explainer(settings: Settings) -> Iterator[Explainer]:
    """Explains events from what is on disk, also beside a running node; closed afterwards.

    Raises:
        NotFoundError: The node has no journal yet.
    """
    from edgewise.journal.blobs import read_blob
    from edgewise.node.why import Explainer

    with contextlib.ExitStack() as opened:
        journal = read_journal(settings)
        opened.callback(journal.close)
        repository = open_repository(settings)
        opened.callback(repository.close)
        people = open_store(settings)
        opened.callback(people.close)
        folder = Path(settings.node.data) / "journal" / "blobs"
        yield Explainer(
            journal,
            blob=functools.partial(read_blob, folder, cipher=open_cipher(settings)),
            repository=repository,
            people=people,
            rules=settings.rules,
            location=settings.node.location,
        )


def make_decisions(
    settings: Settings, journal: DiskJournal, *, complete: Callable[[Entry], Entry], clock: Clock = _CLOCK
) -> SealedStream:
    """What writes decisions: each is completed, and sealed with the node's key.

    Raises:
        SettingsError: The key cannot be read, or others can read it.
    """
    from edgewise.node.sealing import SealedStream

    data_folder(settings)
    return SealedStream(journal, DECISIONS, trust_folder(settings), clock=clock, complete=complete)


def make_clips(
    settings: Settings,
    *,
    journal: DiskJournal,
    blobs: BlobStore,
    lane: Callable[[], Lane],
    stopped: threading.Event,
    clock: Clock = _CLOCK,
) -> Clips:
    """What records the clips of all pipelines that ask for it."""
    from edgewise.node.clips import Clips

    clips = Clips(_clips_folder(settings), journal=journal, blobs=blobs, stopped=stopped)
    for name, pipeline in settings.pipelines.items():
        if recorder := make_recorder(name, pipeline, settings, clips=clips, lane=lane, clock=clock):
            clips.recorders[name] = recorder
    return clips


def make_recorder(
    name: str,
    pipeline: PipelineSettings,
    settings: Settings,
    *,
    clips: Clips,
    lane: Callable[[], Lane],
    clock: Clock = _CLOCK,
) -> Recorder | None:
    """What records the clips of a pipeline, not started yet; None for one that asks for none."""
    from edgewise.pipeline.recorder import Recorder

    if pipeline.record is None:
        return None
    return Recorder(
        name,
        pipeline.record,
        _clips_folder(settings),
        clips.keep,
        clock=clock,
        lane=lane(),
        copy_allowed=not pipeline.mask,
    )


def _clips_folder(settings: Settings) -> Path:
    return data_folder(settings) / "journal" / "clips"


def find_model(name: str, repository: ModelRepository) -> None:
    """Makes a model known to a repository that is here but was not when the node started; asks no network."""
    if name not in repository.names() and (folder := zoo.find(name, default_cache())):
        repository.add(folder)


def open_store(settings: Settings, *, clock: Clock = _CLOCK) -> PeopleStore:
    """The people the node knows."""
    from edgewise.people.store import PeopleStore

    return PeopleStore(data_folder(settings) / "people", clock=clock)


def open_account_store(settings: Settings, *, clock: Clock = _CLOCK) -> AccountStore:
    """The accounts of the node, in its folder or in the database of the settings.

    Raises:
        UnavailableError: The database does not answer.
        MissingExtraError: It is PostgreSQL, whose driver is not installed.
    """
    from edgewise._lib.state import open_state
    from edgewise.accounts.store import MIGRATIONS, AccountStore

    file = None if settings.state.url else data_folder(settings) / "accounts" / ACCOUNTS
    state = open_state(settings.state, file, component="accounts", migrations=MIGRATIONS)
    return AccountStore(state, clock=clock)


def open_accounts(settings: Settings, *, clock: Clock = _CLOCK) -> Directory:
    """The accounts of the node, known in memory; see ``open_account_store``."""
    from edgewise.accounts.directory import Directory
    from edgewise.accounts.limiter import SignInLimiter

    store = open_account_store(settings, clock=clock)
    try:
        return Directory(store, limiter=SignInLimiter(secrets.token_bytes(32)), clock=clock, settings=settings.accounts)
    except BaseException:
        store.close()
        raise


def has_accounts(settings: Settings) -> bool:
    """Whether the node has any account; makes none of its files."""
    if not settings.state.url and not (Path(settings.node.data) / "accounts" / ACCOUNTS).exists():
        return False
    store = open_account_store(settings)
    try:
        return bool(store.accounts())
    finally:
        store.close()


def leave_change(store: AccountStore, settings: Settings, kind: str, what: Mapping[str, Any]) -> None:
    """Leaves word of what a command changed beside the node, which writes it into its audit log: within a second when
    it runs, else when it is started next.
    """
    facts = {"who": _user(), "via": "command", "from": platform.node(), "outcome": "done", "what": dict(what)}
    store.leave_change(kind, facts, node=settings.node.name)


def _user() -> str:
    """Who runs this process, as the machine knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user that the machine has no name for, as in a container
        return str(os.getuid())


class People:
    """The people of a node for one command: the store, and enrolling, for which models are loaded when first needed."""

    def __init__(self, settings: Settings) -> None:
        self.store = open_store(settings)
        self._settings = settings

    def enrol(self, name: str, photos: list[bytes], *, preferences: dict[str, Any]) -> Person:
        """Adds photos of a person; see ``Enrolment.enrol``."""
        repository = open_repository(self._settings)
        try:
            detector, embedder = (repository.get(model).model for model in face_models(self._settings))
            return enrolment(detector, embedder, self.store).enrol(name, photos, preferences=preferences)
        finally:
            repository.close()

    def tell(self, kind: str, what: Mapping[str, Any]) -> None:
        """Leaves word of a change for the audit log; see ``leave_change``."""
        store = open_account_store(self._settings)
        try:
            leave_change(store, self._settings, kind, what)
        finally:
            store.close()


@contextlib.contextmanager
def open_people(settings: Settings) -> Iterator[People]:
    """The people of a node, closed afterwards."""
    people = People(settings)
    try:
        yield people
    finally:
        people.store.close()


def face_models(settings: Settings) -> tuple[str, str]:
    """Names of the models that find and embed faces: those of the first pipeline that recognises, else the defaults."""
    from edgewise.pipeline.transforms.recognise import RecogniseSettings

    for pipeline in settings.pipelines.values():
        for transform in pipeline.transforms:
            if isinstance(transform, RecogniseSettings):
                return transform.detector, transform.embedder
    defaults = RecogniseSettings()
    return defaults.detector, defaults.embedder


def enrolment(detector: Model, embedder: Model, store: PeopleStore) -> Enrolment:
    """What turns photos into a person."""
    from edgewise.people.enrol import Enrolment

    return Enrolment(detector, embedder, store)


def workers(settings: Settings) -> int:
    """The budget in cores: as set, else all that this process may use."""
    return settings.node.workers or cores()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
