"""The settings of a node: one ``edgewise.yaml``, assembled defaults < file < environment < flags.

Environment variables are ``EDGEWISE_SECTION__KEY`` (two underscores go one level down): ``EDGEWISE_HTTP__PORT=8080``.
Relative paths count from the folder of the file. Secrets are paths of files, never values.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from edgewise._lib.documents import Override, decode_yaml, line_of, nearest, parse_value
from edgewise._lib.state import StateSettings, check_url
from edgewise.accounts.directory import AccountSettings
from edgewise.errors import InputError, SettingsError
from edgewise.journal.base import StreamSettings
from edgewise.lake.base import LakeSettings
from edgewise.link.base import UplinkSettings, joined_as
from edgewise.node.discovery import HomeAssistantSettings
from edgewise.pipeline.base import Gives
from edgewise.pipeline.catalog import source_class, transform_class
from edgewise.pipeline.devices import DeviceSettings
from edgewise.pipeline.kinds import command_names, kind_name, parse_command
from edgewise.pipeline.rules import Location, Name, RuleSettings
from edgewise.pipeline.settings import PipelineSettings
from edgewise.pipeline.sinks.mqtt import MqttSettings
from edgewise.pipeline.sources.mqtt import MqttSourceSettings

DEFAULT_FILE = "edgewise.yaml"
PREFIX = "EDGEWISE_"

MIB = 1024 * 1024
# Fields of sources and brokers that hold paths.
_FILES = ("path", "password_file", "ca_file", "secret_key_file")


class NodeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this node is and what it may use.

    Attributes:
        name: Stands in every record it makes; keep it. A node that is given none is called as it joined its parent.
        data: Folder of its journal, snapshots and people.
        workers: The budget: what pipelines and requests compute at once, one core each; 0 is one per core of the
            machine.
        max_waiting: Calls that may wait for a worker; more are refused with 503.
        max_wait_s: A call that is expected to wait longer for a worker is refused with 503.
        snapshot_bytes: Snapshots kept at most.
        location: Where it stands, and whose clock its rules go by.
        clip_bytes: Clips kept at most; they have room of their own.
        evidence_bytes: Pictures without loss, by which decisions are done again, kept at most; the same.
        media_age_s: Snapshots and clips older than this are removed; 0 keeps them as long as there is room.
    """

    name: Name = "node"
    data: str = "edgewise-data"
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    max_waiting: Annotated[int, Meta(ge=1, le=65536)] = 256
    max_wait_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    snapshot_bytes: Annotated[int, Meta(ge=MIB)] = 1024 * MIB
    location: Location = Location()
    clip_bytes: Annotated[int, Meta(ge=MIB)] = 4096 * MIB
    evidence_bytes: Annotated[int, Meta(ge=MIB)] = 1024 * MIB
    media_age_s: Annotated[float, Meta(ge=0, le=3.2e9)] = 30 * 86400.0


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the node answers.

    Attributes:
        host: Address to listen on. Past the loopback an account or a token is needed.
        port: TCP port; 0 takes a free one.
        token_file: File whose first line is a token that clients send as ``Authorization: Bearer``; whoever has it may
            do everything. API tokens (``edgewise api-token create``) may do less, and can be revoked.
        max_body_bytes: Larger request bodies are refused with 413.
        body_timeout_s: A body that takes longer to arrive is refused with 408.
        allowed_hosts: Names, besides its addresses, under which browsers may reach it.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8470
    token_file: str = ""
    max_body_bytes: Annotated[int, Meta(ge=1024, le=1024 * MIB)] = 32 * MIB
    body_timeout_s: Annotated[float, Meta(gt=0, le=600)] = 30.0
    allowed_hosts: tuple[str, ...] = ()


class HttpsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where children call, and apps from elsewhere: TLS 1.3, with a certificate of the node's own authority.

    Attributes:
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        names: Host names and addresses that its certificate states, for browsers and apps. Children do not need them:
            they know the node by the fingerprint in their join token.
        max_connections: Connections at most. A child has three, up to four more while it fetches what it has no more,
            and one for each request that it answers or asks at the moment.
    """

    host: str = "0.0.0.0"  # noqa: S104, children are on other machines
    port: Annotated[int, Meta(ge=0, le=65535)] = 8471
    names: tuple[str, ...] = ()
    max_connections: Annotated[int, Meta(ge=16, le=65536)] = 8192


class HeldSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records of the nodes below this one. On the way to a parent they are kept until it has them; at the top of the
    tree the oldest go when there is no room.

    Attributes:
        max_bytes: Kept of all of them together.
        stream_bytes: Kept of each stream.
        max_age_s: Seconds kept.
    """

    max_bytes: Annotated[int, Meta(ge=16 * MIB)] = 4096 * MIB
    stream_bytes: Annotated[int, Meta(ge=16 * MIB)] = 1024 * MIB
    max_age_s: Annotated[float, Meta(gt=0, le=3.2e9)] = 30 * 86400.0


class JournalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of each stream, and what it is sealed with.

    Attributes:
        alarms: What raised an alarm; first on every link.
        events: What was seen.
        decisions: What was done, and why.
        readings: What sensors told.
        audit: Who changed what.
        queries: Who asked the lake what, over HTTP.
        key_file: File of the key that records, snapshots and clips are sealed with; empty seals nothing. It may lie on
            another disk. ``edgewise journal key FILE`` makes one.
        old_key_files: Files of the keys before it: what was sealed with them can still be read.
    """

    alarms: StreamSettings = StreamSettings()
    events: StreamSettings = StreamSettings()
    decisions: StreamSettings = StreamSettings()
    readings: StreamSettings = StreamSettings()
    audit: StreamSettings = StreamSettings()
    queries: StreamSettings = StreamSettings()
    key_file: str = ""
    old_key_files: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of ``edgewise.yaml``.

    Attributes:
        https: Set where the node takes children.
        parent: How records and blobs go up, once the node has joined a parent (``edgewise join``), and what that may
            change here.
        held: Bounds of what the nodes below it send.
        models: Loaded at start: names from the zoo, or paths of packages (written with a slash). Other models that are
            shipped or pulled are loaded when first used.
        lake: Tables of everything that comes in; a node without it keeps none.
    """

    node: NodeSettings = NodeSettings()
    http: HttpSettings = HttpSettings()
    https: HttpsSettings | None = None
    parent: UplinkSettings = UplinkSettings()
    held: HeldSettings = HeldSettings()
    mqtt: MqttSettings | None = None
    home_assistant: HomeAssistantSettings | None = None
    models: tuple[str, ...] = ()
    pipelines: dict[Name, PipelineSettings] = {}
    devices: dict[Name, DeviceSettings] = {}
    rules: tuple[RuleSettings, ...] = ()
    journal: JournalSettings = JournalSettings()
    lake: LakeSettings | None = None
    accounts: AccountSettings = AccountSettings()
    state: StateSettings = StateSettings()


def load(
    file: Path | None = None, *, environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """Assembles and checks the settings.

    Args:
        file: The file; when None, ``edgewise.yaml`` in the working folder if there is one, else only defaults.
        environment: The process environment when None.
        flags: Dotted keys from the command line, such as ``{"http.port": 8080}``.

    Raises:
        SettingsError: A fault, with file, line and field, or the variable or flag it stands in.
    """
    path = file or Path(DEFAULT_FILE)
    text = "" if file is None and not path.exists() else read_text(path)
    overrides = [*_from_environment(os.environ if environment is None else environment), *_from_flags(flags or {})]
    settings = decode_yaml(text, Settings, file=str(path), error=SettingsError, overrides=overrides)
    for fault in verify(settings):
        source = next((each.source for each in reversed(overrides) if ".".join(each.path) == fault.field), "")
        raise (
            located(fault, text, file=path)
            if not source
            else SettingsError(f"{source}: {fault.problem}", hint=fault.hint, field=fault.field)
        )
    return completed(_with_name(_absolute(settings, base := path.absolute().parent)), base)


def completed(settings: Settings, base: Path) -> Settings:
    """Settings with what follows from them filled in: paths from ``base``, brokers of sources."""
    return _with_brokers(_absolute(settings, base))


class Fault(NamedTuple):
    """Something in the settings that leads nowhere."""

    field: str
    problem: str
    hint: str = ""


def located(fault: Fault, text: str, *, file: Path) -> SettingsError:
    """The error for a fault, with the line of the file it stands in."""
    line = line_of(text, fault.field)
    return SettingsError(
        f"{file}, line {line}, {fault.field}: {fault.problem}",
        hint=fault.hint,
        file=str(file),
        line=line,
        field=fault.field,
    )


def verify(settings: Settings) -> Iterator[Fault]:
    """Checks what concerns several sections."""
    yield from _verify_rules(settings)
    if settings.journal.old_key_files and not settings.journal.key_file:
        yield Fault("journal.old_key_files", "there are old keys, but no key to seal with", "Set journal.key_file.")
    yield from _verify_topics(settings)
    yield from _verify_pipelines(settings)
    if settings.lake and settings.lake.folder and settings.lake.s3:
        yield Fault("lake", "it has a folder and a place on S3 storage", "Set lake.folder or lake.s3, one of them.")
    if settings.state.url:
        try:
            check_url(settings.state.url)
        except SettingsError as error:
            yield Fault("state.url", error.message.removeprefix("state.url: "), error.hint)


def exposure(settings: Settings, *, accounts: bool) -> Fault | None:
    """What is wrong with where the node listens: other machines reach it, and nobody would have to sign in.

    Args:
        settings: Of the node.
        accounts: Whether it has any.
    """
    if is_loopback(settings.http.host) or settings.http.token_file or accounts:
        return None
    return Fault(
        "http.host",
        f"{settings.http.host} can be reached from other machines, so an account or a token is needed",
        "Make an account: edgewise user add NAME --role admin. Or write a long random line into a file"
        " (openssl rand -hex 32 > token) and set http.token_file: token",
    )


def _verify_pipelines(settings: Settings) -> Iterator[Fault]:
    yield from pipeline_faults(settings)
    for name, pipeline in settings.pipelines.items():
        if isinstance(pipeline.source, MqttSourceSettings) and not (pipeline.source.broker or settings.mqtt):
            hint = "Add a section: mqtt: {host: 127.0.0.1}"
            yield Fault(f"pipelines.{name}.source", "it listens to topics, but no broker is named", hint)


def pipeline_faults(settings: Settings) -> Iterator[Fault]:
    """What in a pipeline does not go together, wherever it runs."""
    for name, pipeline in settings.pipelines.items():
        gives = source_class(pipeline.source).gives
        if pipeline.record is not None and gives is not Gives.FRAME:
            yield Fault(f"pipelines.{name}.record", f"clips are made of pictures, but the source gives {gives}s")
        for place, transform in enumerate(pipeline.transforms):
            takes = transform_class(transform).takes
            if gives not in takes:
                problem = f"takes {' or '.join(sorted(takes))}, but the source gives {gives}"
                yield Fault(f"pipelines.{name}.transforms[{place}]", problem)


def _verify_topics(settings: Settings) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    if settings.home_assistant is not None and settings.mqtt is None:
        hint = "Add a section: mqtt: {host: 127.0.0.1}"
        yield Fault("home_assistant", "Home Assistant is reached by a broker, and none is named", hint)
    for name, device in settings.devices.items():
        where = f"devices.{name}.topic"
        if device.topic and settings.mqtt is None:
            hint = "Add a section: mqtt: {host: 127.0.0.1}"
            yield Fault(where, f"device {name!r} has a topic, but no broker is named", hint)
        if device.topic and seen.setdefault(device.topic, name) != name:
            yield Fault(where, f"device {seen[device.topic]!r} has this topic too", "Give each a topic of its own.")


def _verify_rules(settings: Settings) -> Iterator[Fault]:
    seen = set()
    for number, rule in enumerate(settings.rules):
        if rule.name in seen:
            yield Fault(f"rules[{number}].name", f"two rules are named {rule.name!r}", "Give each a name of its own.")
        seen.add(rule.name)
        for place, action in enumerate(rule.do):
            where = f"rules[{number}].do[{place}]"
            device = settings.devices.get(action.device)
            if device is None:
                hint = _known(action.device, settings.devices)
                yield Fault(
                    f"{where}.device", f"rule {rule.name!r} commands {action.device!r}, which is no device", hint
                )
            elif action.command not in (commands := command_names(device)):
                problem = f"a {kind_name(device)} has no command {action.command!r}"
                yield Fault(f"{where}.command", problem, nearest(action.command, commands))
            elif not any(str(value).startswith("=") for value in action.arguments.values()):
                try:
                    parse_command(device, action.command, action.arguments)
                except InputError as error:
                    yield Fault(f"{where}.arguments", error.message, error.hint)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _known(name: str, known: Mapping[str, object]) -> str:
    return nearest(name, dict(known)) or f"Add it: devices: {{{name}: {{kind: light}}}}"


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        SettingsError: It is not there, or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"There is no file {path}", hint="Make one, or name another file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"Cannot read {path}: {error}", hint="It must be a readable UTF-8 file.") from error


def _from_environment(environment: Mapping[str, str]) -> Iterator[Override]:
    for name, word in sorted(environment.items()):
        if name.startswith(PREFIX) and "__" in name:
            path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            yield Override(path, parse_value(word), name)


def _from_flags(flags: Mapping[str, Any]) -> Iterator[Override]:
    for key, value in flags.items():
        yield Override(tuple(key.split(".")), value, "--" + key.rpartition(".")[2].replace("_", "-"))


def _with_name(settings: Settings) -> Settings:
    """A node that was given no name is called as it joined its parent."""
    if settings.node.name != NodeSettings.name:
        return settings
    joined = joined_as(Path(settings.node.data) / "link")
    return msgspec.structs.replace(
        settings, node=msgspec.structs.replace(settings.node, name=joined or settings.node.name)
    )


def _with_brokers(settings: Settings) -> Settings:
    """Sources of topics with the broker they listen to, each under a client id of its own, which stays the same: the
    broker keeps for it what comes while the node is away.
    """
    replace = msgspec.structs.replace
    pipelines = dict(settings.pipelines)
    for name, pipeline in settings.pipelines.items():
        source = pipeline.source
        if isinstance(source, MqttSourceSettings) and (broker := source.broker or settings.mqtt):
            node = (settings.mqtt.client_id if settings.mqtt else "") or f"edgewise-{settings.node.name}"
            own = source.broker.client_id if source.broker else ""
            broker = replace(broker, client_id=own or f"{node}-{name}")
            pipelines[name] = replace(pipeline, source=replace(source, broker=broker))
    return replace(settings, pipelines=pipelines)


def _absolute(settings: Settings, base: Path) -> Settings:
    replace = msgspec.structs.replace

    def absolute(path: str) -> str:
        return str(base / Path(path).expanduser()) if path else path

    def with_files(part: Any) -> Any:
        found = {field: absolute(getattr(part, field)) for field in _FILES if getattr(part, field, "")}
        broker = getattr(part, "broker", None)
        return replace(part, **found, **({"broker": with_files(broker)} if broker else {}))

    def placed(lake: LakeSettings) -> LakeSettings:
        return replace(lake, folder=absolute(lake.folder), s3=lake.s3 and with_files(lake.s3))

    pipelines = {
        name: replace(pipeline, source=with_files(pipeline.source)) for name, pipeline in settings.pipelines.items()
    }
    return replace(
        settings,
        node=replace(settings.node, data=absolute(settings.node.data)),
        http=replace(settings.http, token_file=absolute(settings.http.token_file)),
        journal=replace(
            settings.journal,
            key_file=absolute(settings.journal.key_file),
            old_key_files=tuple(map(absolute, settings.journal.old_key_files)),
        ),
        mqtt=settings.mqtt and with_files(settings.mqtt),
        state=with_files(settings.state),
        models=tuple(absolute(model) if "/" in model else model for model in settings.models),
        pipelines=pipelines,
        lake=settings.lake and placed(settings.lake),
    )
