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
}
TRANSFORMS: dict[str, str] = {
    "detect": "edgewise.pipeline.transforms.detect:Detect",
    "recognise": "edgewise.pipeline.transforms.recognise:Recognise",
    "presence": "edgewise.pipeline.transforms.presence:Presence",
}


def make_source(name: str, settings: SourceSettings, *, clock: Clock) -> Source:
    """A source that is not open yet.

    Raises:
        NotFoundError: No entry point has the name in the settings.
        SettingsError: The options do not fit what is behind it.
    """
    cls, own = _resolve("edgewise.sources", SOURCES, settings)
    return cast("Source", cls(name, own, clock=clock))


def make_transform(settings: TransformSettings, tools: Tools) -> Transform:
    """A transform, with its models open.

    Raises:
        NotFoundError: No entry point, or no model, has the name in the settings.
        SettingsError: The options do not fit what is behind the entry point.
    """
    cls, own = _resolve("edgewise.transforms", TRANSFORMS, settings)
    return cast("Transform", cls(own, tools))


def _resolve(group: str, rows: dict[str, str], settings: msgspec.Struct) -> tuple[Any, Any]:
    """The class behind settings, and the settings it takes."""
    if not isinstance(settings, ExternalSettings):
        module, _, name = rows[str(settings.__struct_config__.tag)].partition(":")
        return getattr(importlib.import_module(module), name), settings
    found = {point.name: point for point in entry_points(group=group)}
    if settings.use not in found:
        raise NotFoundError(
            f"No entry point of {group} is named {settings.use!r}",
            hint=nearest(settings.use, found) or f"Install the package that brings it ({group}).",
            kind="entry_point",
            name=settings.use,
        )
    cls = found[settings.use].load()
    try:
        return cls, msgspec.convert(settings.options, cls.Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"Options of {settings.use!r}: {error}", name=settings.use) from error
