"""Objects in the picture, by any model whose task is detection."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.errors import SettingsError
from edgewise.pipeline.base import Gives, Observation, Tools
from edgewise.types import Detection, Detections


class DetectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="detect"):
    """Which model, and what of its result is kept.

    Attributes:
        model: Name of a model of this node.
        labels: Classes kept; all when empty.
        min_score: Objects below are dropped.
    """

    model: str
    labels: tuple[str, ...] = ()
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Detect:
    """Adds the objects that a model finds."""

    takes = frozenset({Gives.FRAME})
    Settings = DetectSettings
    name = "detect"

    def __init__(self, settings: DetectSettings, tools: Tools) -> None:
        self._settings = settings
        self._model = tools.model(settings.model)
        self._found: tuple[Detection, ...] | None = None

    def apply(self, observation: Observation) -> Observation:
        """Adds what was found in the frame; in a still one, what was found before."""
        if self._found is None or not observation.still:
            self._found = None  # stays so when this frame fails: nothing older is repeated then
            self._found = self._find(observation)
        return msgspec.structs.replace(observation, objects=observation.objects + self._found)

    def _find(self, observation: Observation) -> tuple[Detection, ...]:
        result = self._model.predict(observation.frame.image).result
        if not isinstance(result, Detections):
            raise SettingsError(f"Model {self._settings.model!r} finds no objects", model=self._settings.model)
        wanted = self._settings.labels
        return tuple(
            item
            for item in result.objects
            if item.score >= self._settings.min_score and (not wanted or item.label in wanted)
        )
