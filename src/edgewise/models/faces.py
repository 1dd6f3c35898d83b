"""Finding and embedding faces with two open models: what enrolling people and recognising them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewise.errors import SettingsError
from edgewise.types import Detection, Detections, Embedding

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.types import Array, Image


class FaceModels:
    """A detector and an embedder. Safe for threads.

    Args:
        detector: Finds faces with their five landmarks.
        embedder: Turns an aligned face into a vector of unit length.

    Attributes:
        origin: What a vector is marked with: only vectors of one model and version can be compared. The variants of a
            package agree within its golden tolerance, so they share it.
    """

    def __init__(self, detector: Model, embedder: Model) -> None:
        self._detector = detector
        self._embedder = embedder
        self.origin = f"{embedder.manifest.name}@{embedder.manifest.version}"

    def find(self, image: Image) -> tuple[Detection, ...]:
        """The faces of a picture, best first.

        Raises:
            SettingsError: The detector gives no detections with landmarks.
        """
        found = self._detector.predict(image).result
        if not isinstance(found, Detections) or any(not face.landmarks for face in found.objects):
            raise _wrong_task(self._detector, "finds no faces with landmarks")
        return found.objects

    def embed(self, image: Image, faces: Sequence[Detection]) -> list[Array]:
        """One vector (float32, unit length) per face of a picture.

        Raises:
            SettingsError: The embedder gives no embeddings.
        """
        import numpy as np

        if not faces:
            return []
        predictions = self._embedder.predict_batch([image] * len(faces), landmarks=[face.landmarks for face in faces])
        vectors = []
        for prediction in predictions:
            if not isinstance(prediction.result, Embedding):
                raise _wrong_task(self._embedder, "makes no embeddings")
            vectors.append(np.asarray(prediction.result.vector, np.float32))
        return vectors


def _wrong_task(model: Model, what: str) -> SettingsError:
    name = model.manifest.name
    return SettingsError(f"Model {name!r} {what}", hint="For faces: yunet and mobilefacenet.", model=name)
