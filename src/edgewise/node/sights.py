"""What Home Assistant is shown of a node beside its devices: pictures, versions of models, kinds of event."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from edgewise.media.images import encode_jpeg
from edgewise.media.shrink import shrink
from edgewise.pipeline.base import Gives
from edgewise.pipeline.catalog import source_class

if TYPE_CHECKING:
    from edgewise.node.repository import ModelRepository
    from edgewise.node.settings import Settings
    from edgewise.pipeline.runner import PipelineRunner
    from edgewise.pipeline.settings import PipelineSettings


class Sights:
    """Looks at a node's pipelines and models when asked.

    Args:
        settings: What there is.
        pipelines: Gives the running ones by name.
        repository: The models.
        models: Gives the names of those that are in use with some settings.

    Attributes:
        pipelines: Names of all pipelines.
        cameras: Those that give pictures.
        kinds: Kinds of event that rules listen to.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        pipelines: Callable[[], Mapping[str, PipelineRunner]],
        repository: ModelRepository,
        models: Callable[[Settings], Iterable[str]],
    ) -> None:
        self._runners = pipelines
        self._repository = repository
        self._in_use = models
        self._width = settings.home_assistant.snapshot_width if settings.home_assistant else 0
        self._settings: Mapping[str, PipelineSettings] = {}
        self.look(settings)

    def look(self, settings: Settings) -> frozenset[str]:
        """There is something else now; returns the names of pipelines that are gone or others."""
        before, self._settings = self._settings, settings.pipelines
        self._models = tuple(self._in_use(settings))
        self.pipelines = tuple(settings.pipelines)
        self.cameras = tuple(
            name for name, each in settings.pipelines.items() if source_class(each.source).gives is Gives.FRAME
        )
        self.kinds = frozenset(rule.on for rule in settings.rules if "." in rule.on and not rule.on.endswith("*"))
        return frozenset(name for name, each in before.items() if self._settings.get(name) != each)

    def picture(self, name: str, after: int) -> tuple[int, bytes] | None:
        """The newest picture of a camera with its number, as JPEG; None when it has none newer than ``after``."""
        runner = self._runners().get(name)
        observation = runner.observation() if runner else None
        if observation is None or observation.frame.number <= after:
            return None
        return observation.frame.number, encode_jpeg(shrink(observation.frame.image, self._width))

    def versions(self) -> dict[str, tuple[str, str]]:
        """The version in use and the newest one here, of each model."""
        found = {}
        for name in self._models:
            versions = self._repository.versions(name)
            found[name] = versions[0], max(versions, key=_numbers)
        return found


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
