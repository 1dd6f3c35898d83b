"""Faces in a picture, with the names of the people they match: find, align, embed, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgewise.models.faces import FaceModels
from edgewise.types import Detection

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.pipeline.base import People
    from edgewise.types import Array, Image


class FaceRecogniser:
    """Finds faces and says whose they are. Safe for threads.

    Args:
        detector: Finds faces with their five landmarks.
        embedder: Turns an aligned face into a vector of unit length.
        people: Whom to compare with.
        min_face_px: Faces lower than this are left out: too few pixels to tell people apart.
    """

    def __init__(self, detector: Model, embedder: Model, people: People, *, min_face_px: int = 40) -> None:
        self._models = FaceModels(detector, embedder)
        self._people = people
        self._min_face_px = min_face_px

    def find(self, image: Image) -> tuple[Detection, ...]:
        """The faces of a picture, best first; ``name`` is empty for who matched nobody.

        Raises:
            SettingsError: A model has the wrong task.
        """
        faces = [face for face in self._models.find(image) if face.box.height >= self._min_face_px]
        vectors = self._models.embed(image, faces)
        return tuple(self._named(face, vector) for face, vector in zip(faces, vectors, strict=True))

    def _named(self, face: Detection, vector: Array) -> Detection:
        match = self._people.match(vector, model=self._models.origin)
        return face if match is None else msgspec.structs.replace(face, name=match.name, similarity=match.similarity)
