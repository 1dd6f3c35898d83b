"""What is recorded, and what became of it: the settings and the facts of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgewise.errors import EdgewiseError

KindPattern = Annotated[str, Meta(pattern=r"^(?:[a-z0-9_]+\.)*(?:[a-z0-9_]+|\*)$", max_length=128)]
Copy = Literal["playable", "always", "never"]


class RecordSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clips of events.

    Attributes:
        on: Kinds of event that are recorded; ``face.*`` stands for all that begin so, ``*`` for all.
        before_s: Seconds before the event. A clip that is not encoded anew begins with the key frame before them.
        after_s: Seconds after the event.
        max_s: Longest clip, when one event follows another.
        copy: Which encoded video is written as it came: what browsers play (``playable``: H.264, HEVC, VP9, AV1), all
            that an MP4 file can hold (``always``), or none (``never``). The rest is encoded anew.
        quality: Of pictures that are encoded, 1..100; more is better and larger.
        max_fps: Pictures a second that are encoded at most.
        max_height: Higher pictures are encoded smaller.
        max_cores: What encoding may take of the machine, in cores; pictures beyond are left out and counted.
        memory_bytes: Video in memory at most, of this pipeline.
    """

    on: Annotated[tuple[KindPattern, ...], Meta(min_length=1, max_length=64)] = ("*",)
    before_s: Annotated[float, Meta(ge=0, le=120)] = 5.0
    after_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    max_s: Annotated[float, Meta(ge=1, le=3600)] = 120.0
    copy: Copy = "playable"
    quality: Annotated[int, Meta(ge=1, le=100)] = 60
    max_fps: Annotated[float, Meta(ge=0.1, le=120)] = 10.0
    max_height: Annotated[int, Meta(ge=32, le=4320)] = 1080
    max_cores: Annotated[float, Meta(ge=0.01, le=64)] = 0.5
    memory_bytes: Annotated[int, Meta(ge=1 << 20, le=4 << 30)] = 64 << 20

    def __post_init__(self) -> None:
        if self.max_s < self.before_s + self.after_s:
            raise ValueError("max_s is less than before_s and after_s together")


class Clip(msgspec.Struct, frozen=True):
    """What became of a clip.

    Attributes:
        name: Of the clip.
        source: Of the pipeline.
        path: The file; whoever is told owns it. None when there is none.
        events: Sequences of the events in it.
        time_ns: When it begins, nanoseconds since the Unix epoch, as near as is known.
        duration_s: Its length.
        before_s: Of that, before its first event.
        width: Pixels.
        height: Pixels.
        codec: FFmpeg's name, such as ``h264``.
        copied: Whether it holds what the source sent, unchanged.
        cut: Why it ended before its time; empty when it did not.
        error: Why there is no clip; None when there is one.
    """

    name: str
    source: str
    path: Path | None
    events: tuple[int, ...] = ()
    time_ns: int = 0
    duration_s: float = 0.0
    before_s: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    copied: bool = False
    cut: str = ""
    error: EdgewiseError | None = None


class RecorderState(msgspec.Struct, frozen=True):
    """What a recorder is doing. Counts are since it was started.

    Attributes:
        recording: Name of the clip that runs; empty when none does.
        clips: Clips that were made.
        failed: Clips that could not be made.
        copying: Whether the source's own video is kept (as opposed to encoding pictures); None before it is known.
        skipped: Pictures that were not encoded, to stay within ``max_cores``.
        memory_bytes: Video in memory now.
        problem: Why the last clip failed; empty once one was made.
    """

    recording: str = ""
    clips: int = 0
    failed: int = 0
    copying: bool | None = None
    skipped: int = 0
    memory_bytes: int = 0
    problem: str = ""
