"""Checking settings through to what they name: rules that compile, models and files that are there, private secrets.

``settings.load`` finds what is wrong with the file itself, every time it is read. Here is what a node finds out when it
starts, told before it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgewise import zoo
from edgewise._lib.clock import SystemClock
from edgewise._lib.documents import nearest
from edgewise._lib.secrets import read_secret
from edgewise.errors import EdgewiseError, RuleError, SettingsError
from edgewise.journal.cipher import open_cipher
from edgewise.models.package import load_manifest
from edgewise.node import organs
from edgewise.node import settings as node_settings
from edgewise.node.settings import Fault, Settings
from edgewise.pipeline.catalog import make_source
from edgewise.pipeline.rules import RuleEngine
from edgewise.pipeline.settings import PipelineSettings
from edgewise.pipeline.sources.folder import FolderSettings
from edgewise.pipeline.sources.video import VideoSettings
from edgewise.pipeline.transforms.detect import DetectSettings
from edgewise.pipeline.transforms.recognise import RecogniseSettings


def check(file: Path | None = None) -> Settings:
    """Loads settings as ``settings.load`` does, and checks all that they name.

    Raises:
        SettingsError: The first fault, with its line.
    """
    settings = node_settings.load(file)
    path = file or Path(node_settings.DEFAULT_FILE)
    for fault in faults(settings):
        text = path.read_text() if path.exists() else ""
        raise node_settings.located(fault, text, file=path)
    return settings


def faults(settings: Settings) -> Iterator[Fault]:
    """All that would keep a node with these settings from starting, or a camera from running."""
    yield from _rules(settings)
    yield from _models(settings)
    for name, pipeline in settings.pipelines.items():
        yield from _source(name, pipeline)
    yield from _secrets(settings)
    yield from _exposure(settings)


def _exposure(settings: Settings) -> Iterator[Fault]:
    try:
        fault = node_settings.exposure(settings, accounts=organs.has_accounts(settings))
    except EdgewiseError as error:
        yield Fault("state.url" if settings.state.url else "node.data", error.message, error.hint)
        return
    if fault is not None:
        yield fault


def _rules(settings: Settings) -> Iterator[Fault]:
    location = settings.node.location
    try:
        RuleEngine([], location)
    except RuleError as error:
        yield Fault("node.location.timezone", error.message, error.hint)
        return
    for number, rule in enumerate(settings.rules):
        try:
            engine = RuleEngine([rule], location)
        except RuleError as error:
            yield Fault(f"rules[{number}].{error.facts['field']}", error.message, error.hint)
            continue
        for _, field, source in engine.sources():
            if source not in settings.pipelines:
                problem = f"rule {rule.name!r} looks at {source!r}, which is no pipeline"
                yield Fault(f"rules[{number}].{field}", problem, nearest(source, settings.pipelines))


def _models(settings: Settings) -> Iterator[Fault]:
    known = [entry.name for entry in zoo.names()]
    for number, model in enumerate(settings.models):
        if "/" not in model:
            if model not in known:
                yield Fault(f"models[{number}]", f"no model is named {model!r}", nearest(model, known))
            continue
        try:
            known.append(load_manifest(Path(model)).name)
        except EdgewiseError as error:
            yield Fault(f"models[{number}]", error.message, error.hint)
    for field, name in _used(settings):
        if name not in known:
            yield Fault(field, f"no model is named {name!r}", nearest(name, known))


def _used(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each model that a pipeline uses: the field that names it, and its name."""
    for name, pipeline in settings.pipelines.items():
        for number, transform in enumerate(pipeline.transforms):
            where = f"pipelines.{name}.transforms[{number}]"
            if isinstance(transform, DetectSettings):
                yield f"{where}.model", transform.model
            elif isinstance(transform, RecogniseSettings):
                yield f"{where}.detector", transform.detector
                yield f"{where}.embedder", transform.embedder


def _source(name: str, pipeline: PipelineSettings) -> Iterator[Fault]:
    source, where = pipeline.source, f"pipelines.{name}.source"
    if isinstance(source, VideoSettings) and not Path(source.path).is_file():
        yield Fault(f"{where}.path", f"there is no video {source.path}")
    if isinstance(source, FolderSettings) and not Path(source.path).is_dir():
        yield Fault(f"{where}.path", f"there is no folder {source.path}")
    try:
        make_source(name, source, clock=SystemClock())
    except EdgewiseError as error:
        yield Fault(where, error.message, error.hint)


def _secrets(settings: Settings) -> Iterator[Fault]:
    named = {"http.token_file": settings.http.token_file}
    if settings.state.password_file:
        named["state.password_file"] = settings.state.password_file
    if settings.mqtt:
        named["mqtt.password_file"] = settings.mqtt.password_file
    if settings.lake and settings.lake.s3:
        named["lake.s3.secret_key_file"] = settings.lake.s3.secret_key_file
    for field, path in named.items():
        try:
            if path:
                read_secret(path, what=field)
        except SettingsError as error:
            yield Fault(field, error.message.removeprefix(f"{field}: "), error.hint)
    journal = settings.journal
    keys = {"journal.key_file": (journal.key_file,), "journal.old_key_files": journal.old_key_files}
    for field, path in ((field, path) for field, paths in keys.items() for path in paths if path):
        try:
            open_cipher(path)
        except SettingsError as error:
            yield Fault(field, error.message, error.hint)
