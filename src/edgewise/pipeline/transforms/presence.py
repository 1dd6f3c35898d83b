"""From faces in single frames to one event per visit: ``face.known`` and ``face.unknown``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=100)]


class PresenceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="presence"):
    """How sure is sure. With ``needed: 1`` and ``unknown_needed: 1`` single pictures suffice.

    Attributes:
        needed: A face is somebody once it matched that person in this many of its last ``window`` frames, and nobody
            else in them.
        window: See ``needed``.
        unknown_needed: A face is a stranger's once it was followed for this many frames and matched nobody.
        absent_s: Seconds out of sight after which the next sighting is a new visit.
    """

    needed: Count = 3
    window: Count = 5
    unknown_needed: Count = 6
    absent_s: Annotated[float, Meta(ge=0, le=86400)] = 5.0
