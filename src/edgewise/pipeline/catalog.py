"""Which sources and transforms there are: kind -> where its class lives. Plain data, loaded on demand.

A package outside Edgewise adds one through the entry points ``edgewise.sources`` and ``edgewise.transforms``; the
settings name it as ``{kind: external, use: NAME, options: {...}}``.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

import msgspec

from edgewise._lib.documents import nearest
from edgewise.errors import NotFoundError, SettingsError
from edgewise.pipeline.external import ExternalSettings

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.pipeline.base import Source, Tools, Transform
    from edgewise.pipeline.settings import SourceSettings, TransformSettings

SOURCES: dict[str, str] = {
    "video": "edgewise.pipeline.sources.video:VideoSource",
    "folder": "edgewise.pipeline.sources.folder:FolderSource",
    "camera": "edgewise.pipeline.sources.camera:CameraSource",
    "upload": "edgewise.pipeline.sources.upload:UploadSource",
    "sound": "edgewise.pipeline.sources.sound:SoundSource",
    "microphone": "edgewise.pipeline.sources.microphone:MicrophoneSource",
    "rtsp": "edgewise.pipeline.sources.rtsp:RtspSource",
    "readings": "edgewise.pipeline.sources.readings:ReadingsSource",
    "below": "edgewise.pipeline.sources.below:BelowSource",
    "mqtt": "edgewise.pipeline.sources.mqtt:MqttSource",
    "replay": "edgewise.pipeline.sources.replay:ReplaySource",
    "modbus": "edgewise.pipeline.sources.modbus:ModbusSource",
    "opcua": "edgewise.pipeline.sources.opcua:OpcUaSource",
    "serial": "edgewise.pipeline.sources.serial:SerialSource",
}
TRANSFORMS: dict[str, str] = {
    "voice_activity": "edgewise.pipeline.transforms.voice_activity:VoiceActivity",
    "wake_word": "edgewise.pipeline.transforms.wake_word:WakeWord",
    "command": "edgewise.pipeline.transforms.command:Command",
    "detect": "edgewise.pipeline.transforms.detect:Detect",
    "recognise": "edgewise.pipeline.transforms.recognise:Recognise",
    "presence": "edgewise.pipeline.transforms.presence:Presence",
    "motion": "edgewise.pipeline.transforms.motion:Motion",
    "track": "edgewise.pipeline.transforms.track:Track",
    "count": "edgewise.pipeline.transforms.count:Count",
    "dwell": "edgewise.pipeline.transforms.dwell:Dwell",
    "throttle": "edgewise.pipeline.transforms.throttle:Throttle",
    "debounce": "edgewise.pipeline.transforms.debounce:Debounce",
    "clean": "edgewise.pipeline.transforms.clean:Clean",
    "resample": "edgewise.pipeline.transforms.resample:Resample",
    "window": "edgewise.pipeline.transforms.window:WindowTransform",
    "features": "edgewise.pipeline.transforms.features:Features",
    "thin": "edgewise.pipeline.transforms.thin:Thin",
    "classify": "edgewise.pipeline.transforms.classify:Classify",
    "anomaly": "edgewise.pipeline.transforms.anomaly:Anomaly",
}


def make_source(name: str, settings: SourceSettings, *, clock: Clock) -> Source:
    """A source that is not open yet.

    Raises:
        NotFoundError: No entry point has the name in the settings.
        SettingsError: The options do not fit what is behind it.
    """
    cls = source_class(settings)
    return cast("Source", cls(name, _own(cls, settings), clock=clock))


def make_transform(settings: TransformSettings, tools: Tools) -> Transform:
    """A transform, with its models open.

    Raises:
        NotFoundError: No entry point, or no model, has the name in the settings.
        SettingsError: The options do not fit what is behind the entry point.
    """
    cls = transform_class(settings)
    return cast("Transform", cls(_own(cls, settings), tools))


def source_class(settings: SourceSettings) -> Any:
    """The class behind a source's settings.

    Raises:
        NotFoundError: No entry point has the name in the settings.
    """
    return _find("edgewise.sources", SOURCES, settings)


def transform_class(settings: TransformSettings) -> Any:
    """The class behind a transform's settings.

    Raises:
        NotFoundError: No entry point has the name in the settings.
    """
    return _find("edgewise.transforms", TRANSFORMS, settings)


def _find(group: str, rows: dict[str, str], settings: msgspec.Struct) -> Any:
    if not isinstance(settings, ExternalSettings):
        module, _, name = rows[str(settings.__struct_config__.tag)].partition(":")
        return getattr(importlib.import_module(module), name)
    found = {point.name: point for point in entry_points(group=group)}
    if settings.use not in found:
        raise NotFoundError(
            f"No entry point of {group} is named {settings.use!r}",
            hint=nearest(settings.use, found) or f"Install the package that brings it ({group}).",
            kind="entry_point",
            name=settings.use,
        )
    return found[settings.use].load()


def _own(cls: Any, settings: msgspec.Struct) -> msgspec.Struct:
    """The settings that a class takes: its own, or the options of an external one."""
    if not isinstance(settings, ExternalSettings):
        return settings
    try:
        return cast("msgspec.Struct", msgspec.convert(settings.options, cls.Settings))
    except msgspec.ValidationError as error:
        raise SettingsError(f"Options of {settings.use!r}: {error}", name=settings.use) from error
