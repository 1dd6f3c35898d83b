"""Objects in the picture, by any model whose task is detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from edgewise.errors import SettingsError
from edgewise.pipeline.base import Gives, Observation, Tools
from edgewise.pipeline.joint import UnsureSettings, answered_by
from edgewise.types import Detection, Detections

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.models.prediction import Prediction
    from edgewise.types import Image, Result


class DetectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="detect"):
    """Which model, and what of its result is kept.

    Attributes:
        model: Name of a model of this node.
        labels: Classes kept; all when empty.
        min_score: Objects below are dropped.
        unsure: When a larger model above is asked instead; never when it is not set.
    """

    model: str
    labels: tuple[str, ...] = ()
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0
    unsure: UnsureSettings | None = None


class Detect:
    """Adds the objects that a model finds."""

    takes = frozenset({Gives.FRAME})
    Settings = DetectSettings
    name = "detect"

    def __init__(self, settings: DetectSettings, tools: Tools) -> None:
        self._settings = settings
        self._model = tools.model(settings.model)
        self._found: tuple[Detection, ...] | None = None
        self._by = ""

    @property
    def model(self) -> Model:
        """What finds them."""
        return self._model

    @property
    def unsure(self) -> UnsureSettings | None:
        """See ``Doubting``."""
        return self._settings.unsure

    def apply(self, observation: Observation) -> Observation:
        """Adds what was found in the frame; in a still one, what was found before."""
        picture = self.wanted(observation)
        return self.conclude(observation, None if picture is None else self._model.predict(picture))

    def wanted(self, observation: Observation) -> Image | None:
        """See ``Batched``."""
        if self._found is not None and observation.still:
            return None
        self._found = None  # stays so when this frame fails: nothing older is repeated then
        return observation.frame.image

    def conclude(self, observation: Observation, prediction: Prediction | None) -> Observation:
        """See ``Batched``."""
        if prediction is not None:
            self._found = self._kept(prediction.result)
            self._by = answered_by(prediction)
        objects = observation.objects + (self._found or ())
        if not self._settings.unsure:
            return msgspec.structs.replace(observation, objects=objects)
        return msgspec.structs.replace(
            observation, objects=objects, facts={**observation.facts, self.name: {"by": self._by}}
        )

    def _kept(self, result: Result) -> tuple[Detection, ...]:
        if not isinstance(result, Detections):
            raise SettingsError(f"Model {self._settings.model!r} finds no objects", model=self._settings.model)
        wanted = self._settings.labels
        return tuple(
            item
            for item in result.objects
            if item.score >= self._settings.min_score and (not wanted or item.label in wanted)
        )
