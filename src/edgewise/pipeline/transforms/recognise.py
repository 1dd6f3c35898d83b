"""Faces in the picture, with the names of the people they match."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from edgewise.pipeline.base import Gives, Observation, Tools
from edgewise.pipeline.faces import FaceRecogniser
from edgewise.types import Detection


class RecogniseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="recognise"):
    """Which models find and embed faces.

    Attributes:
        detector: Model that finds faces and their five landmarks.
        embedder: Model that turns an aligned face into a vector.
        min_face_px: Faces lower than this are left out: too few pixels to tell people apart.
    """

    detector: str = "yunet"
    embedder: str = "mobilefacenet"
    min_face_px: Annotated[int, Meta(ge=16, le=4096)] = 40


class Recognise:
    """Adds the faces of the frame."""

    takes = frozenset({Gives.FRAME})
    Settings = RecogniseSettings
    name = "recognise"

    def __init__(self, settings: RecogniseSettings, tools: Tools) -> None:
        self._recogniser = FaceRecogniser(
            tools.model(settings.detector),
            tools.model(settings.embedder),
            tools.people,
            min_face_px=settings.min_face_px,
        )
        self._found: tuple[Detection, ...] | None = None

    def apply(self, observation: Observation) -> Observation:
        """Adds the faces of the frame; of a still one, those found before."""
        if self._found is None or not observation.still:
            self._found = None  # stays so when this frame fails: nothing older is repeated then
            self._found = self._recogniser.find(observation.frame.image)
        return msgspec.structs.replace(observation, objects=observation.objects + self._found)
