"""Frames that somebody pushes in, over HTTP for one."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class UploadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="upload"):
    """Pushed frames.

    Attributes:
        queue: Pictures that wait at most; a newer one pushes the oldest out, which is counted.
    """

    queue: Annotated[int, Meta(ge=1, le=64)] = 4
