"""Frames of a video file, by PyAV."""

from __future__ import annotations

import msgspec


class VideoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="video"):
    """A video file.

    Attributes:
        path: The file.
        loop: Starts again at its end.
        realtime: Gives frames at the file's own pace, as a camera would; otherwise as fast as they are taken.
    """

    path: str
    loop: bool = False
    realtime: bool = True
