"""From photos to a person: every photo must show exactly one face, large enough; then all are stored, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgewise.errors import DecodeError, InputError, TooLargeError
from edgewise.media import images
from edgewise.media.crop import crop
from edgewise.models.faces import FaceModels
from edgewise.people.store import MAX_PHOTOS, check_name
from edgewise.types import Detection

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.people.store import PeopleStore, Person
    from edgewise.types import Image

# Lower faces have too few pixels for an embedding (112 x 112) that many later ones are compared with.
MIN_FACE_PX = 60
# The picture that is shown of a person: the face with this much around it (shares of its size), this many pixels.
_MARGIN = 0.4
_THUMBNAIL_PX = 192


class Enrolment:
    """Adds people from photos. Safe for threads.

    Args:
        detector: Finds faces with their five landmarks.
        embedder: Turns an aligned face into a vector of unit length.
        store: Where people are kept.
    """

    def __init__(self, detector: Model, embedder: Model, store: PeopleStore) -> None:
        self._models = FaceModels(detector, embedder)
        self._store = store

    def enrol(self, name: str, photos: Sequence[bytes], *, preferences: Mapping[str, Any] | None = None) -> Person:
        """Adds a person, or more photos to the person known by that name; nothing is stored unless all photos do.

        Args:
            name: 1 to 80 characters.
            photos: Files of pictures, best three or more in different light.
            preferences: Set on top of those there are.

        Raises:
            DecodeError: A photo is no picture. Facts: ``photo``.
            TooLargeError: A photo has too many pixels. Facts: ``photo``.
            InputError: A photo shows no face, several, or too small a one. Facts: ``photo`` (from 1), ``reason``
                (``no_face``, ``several_faces``, ``small_face``).
        """
        name = check_name(name)
        if not 1 <= len(photos) <= MAX_PHOTOS:
            raise InputError(f"Give 1 to {MAX_PHOTOS} photos, not {len(photos)}", limit=MAX_PHOTOS)
        pictures = [_decode(photo, number) for number, photo in enumerate(photos, start=1)]
        faces = [self._only_face(picture, number) for number, picture in enumerate(pictures, start=1)]
        vectors = [
            vector
            for picture, face in zip(pictures, faces, strict=True)
            for vector in self._models.embed(picture, [face])
        ]
        thumbnail = images.encode_jpeg(crop(pictures[0], faces[0].box, margin=_MARGIN, side_px=_THUMBNAIL_PX))
        return self._store.add(name, vectors, model=self._models.origin, preferences=preferences, photo=thumbnail)

    def _only_face(self, picture: Image, number: int) -> Detection:
        found = self._models.find(picture)
        if not found:
            raise InputError(
                f"Photo {number} shows no face",
                hint="Use a photo from the front, in good light.",
                photo=number,
                reason="no_face",
            )
        if len(found) > 1:
            raise InputError(
                f"Photo {number} shows {len(found)} faces",
                hint="Cut the photo so that only this person is in it.",
                photo=number,
                reason="several_faces",
            )
        face = found[0]
        if face.box.height < MIN_FACE_PX:
            raise InputError(
                f"The face in photo {number} is {face.box.height:.0f} pixels high",
                hint=f"It must have {MIN_FACE_PX} at least; go closer.",
                photo=number,
                reason="small_face",
            )
        return face


def _decode(photo: bytes, number: int) -> Image:
    try:
        return images.decode(photo)
    except (DecodeError, TooLargeError) as error:
        facts = {**error.facts, "photo": number}
        raise type(error)(f"Photo {number}: {error.message}", hint=error.hint, **facts) from error
