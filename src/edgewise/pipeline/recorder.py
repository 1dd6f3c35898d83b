"""Recording clips: some seconds before an event, and some after it.

Where a source hands on its encoded video (``Encoded``), what it sent is kept and written as it is: a clip then costs no
decoding and loses nothing. Everything else is encoded: pictures of a folder or an upload, codecs that no browser plays,
and every camera with a mask, since what is masked may be in no clip.

Events that come while a clip runs make it longer. A clip has its name before it has an end, so that an event, and the
alarm it raises, can carry it. While it runs it stands in a file of that name ending in ``.part``; one that is found at
the next start was cut off by a crash, and is told as lost.

Threads: sources and runners only put packets and pictures into bounded places; one thread here encodes, another writes.
"""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise.errors import EdgewiseError
from edgewise.media.clips import PLAYABLE, ClipWriter, FrameEncoder, mp4_codecs
from edgewise.media.packets import Coding, Packet
from edgewise.pipeline.base import Event, Frame
from edgewise.pipeline.ring import PacketRing, Placed

if TYPE_CHECKING:
    from edgewise.types import Image

PART = ".part"
# Events are told a little after their picture was taken; the ring reaches back that much further.
_LATE_S = 5.0
# A clip whose source gives nothing more ends so long after its end was due.
_GRACE_S = 1.0
# Pictures that wait to be encoded; newer ones push out older ones.
_WAITING = 4
# Encoding may be ahead of its share of a core by so much.
_BURST_S = 0.5
_TICK_S = 0.1

logger = logging.getLogger(__name__)

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


class Turns(Protocol):
    """Whose turns encoding takes (``edgewise.pipeline.scheduler.Lane``)."""

    def turn(self) -> contextlib.AbstractContextManager[None]:
        """Waits for a turn and holds it."""
        ...


class _Running:
    """A clip that is being made; guarded by the recorder's lock, but for the writer, which is the writing thread's."""

    def __init__(self, name: str, path: Path, *, end_s: float, latest_s: float, due: float, due_latest: float) -> None:
        self.name = name
        self.end_s = end_s
        self.latest_s = latest_s
        self.due = due
        self.due_latest = due_latest
        self.writer = ClipWriter(path)
        self.events: list[int] = []
        self.event_s: float | None = None
        self.first: Placed | None = None
        self.waiting: deque[Placed] = deque()
        self.waiting_bytes = 0
        self.copied = False
        self.cut = ""
        self.closed = False  # nothing more is added
        self.error: EdgewiseError | None = None


class Recorder:
    """Records the clips of one pipeline. Safe for threads.

    Args:
        name: Of the pipeline.
        settings: What to record.
        folder: Where clips are written; on the file system where they are to stay.
        on_clip: Told of each clip that ended, in the writing thread.
        clock: Time.
        lane: Whose turns encoding takes.
        copy_allowed: Whether the source's own video may be written at all; not with a mask.
    """

    def __init__(
        self,
        name: str,
        settings: RecordSettings,
        folder: Path,
        on_clip: Callable[[Clip], None],
        *,
        clock: Clock,
        lane: Turns,
        copy_allowed: bool = True,
    ) -> None:
        self.name = name
        self._settings = settings
        self._folder = folder
        self._on_clip = on_clip
        self._clock = clock
        self._lane = lane
        self._copy_allowed = copy_allowed and settings.copy != "never"
        self._ring = PacketRing(keep_s=settings.before_s + _LATE_S, max_bytes=settings.memory_bytes)
        self._changed = threading.Condition()
        self._state = RecorderState()
        self._copying: Coding | None = None
        self._refused: Coding | None = None
        self._running: _Running | None = None
        self._ending: list[_Running] = []
        self._frames: deque[Frame] = deque(maxlen=_WAITING)
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._write_all, name=f"{name}-clips", daemon=True),
            threading.Thread(target=self._encode_all, name=f"{name}-encoder", daemon=True),
        ]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the clip that runs where it is, and writes it. May be called twice."""
        with self._changed:
            self._stopping = True
            if self._running is not None:
                self._end(self._running, cut="the node was stopped")
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def state(self) -> RecorderState:
        """What it is doing now."""
        with self._changed:
            return msgspec.structs.replace(
                self._state,
                recording=self._running.name if self._running else "",
                memory_bytes=self._ring.kept_bytes,
            )

    def wants(self, kind: str) -> bool:
        """Whether events of a kind are recorded."""
        return any(fnmatch.fnmatchcase(kind, pattern) for pattern in self._settings.on)

    # What the pipeline gives; these return at once.

    def packet(self, packet: Packet) -> None:
        """Takes a packet of the source."""
        with self._changed:
            if packet.coding is not self._copying and not self._may_copy(packet.coding):
                return
            self._copying = packet.coding
            self._add(packet, time_ns=self._clock.time_ns())

    def frame(self, frame: Frame) -> None:
        """Takes a picture; it is encoded unless the source's packets are kept."""
        with self._changed:
            if self._copying is None and not self._stopping:
                self._frames.append(frame)
                self._changed.notify_all()

    def trigger(self, event: Event) -> str:
        """Begins a clip, or makes the one that runs longer; returns its name. Empty when such events are not recorded.

        Raises:
            OSError: The clip's file cannot be made.
        """
        if not self.wants(event.kind):
            return ""
        with self._changed:
            if self._stopping:
                return ""
            now = self._clock.monotonic()
            at_s = self._ring.position(event.time_ns)
            running = self._running
            if running is not None and (at_s is None or at_s < running.end_s):
                running.end_s = min(running.latest_s, max(running.end_s, (at_s or 0.0) + self._settings.after_s))
                running.due = min(running.due_latest, now + self._settings.after_s + _GRACE_S)
            else:
                if running is not None:
                    self._end(running)
                running = self._begin(event, at_s, now)
            return running.name

    def link(self, clip: str, sequence: int) -> None:
        """Tells under which sequence the event of a clip stands in the journal."""
        with self._changed:
            for running in [*([self._running] if self._running else []), *self._ending]:
                if running.name == clip:
                    running.events.append(sequence)

    # Under the lock.

    def _may_copy(self, coding: Coding) -> bool:
        if not self._copy_allowed or coding is self._refused:
            return False
        allowed = coding.codec in PLAYABLE or (self._settings.copy == "always" and coding.codec in mp4_codecs())
        if not allowed:
            self._refused, self._copying = coding, None
            return False
        if self._copying is None:
            self._ring.clear()  # pictures encoded before do not go with what the source sends
            self._frames.clear()
            if self._running is not None and self._running.first is not None:
                self._end(self._running, cut="the source changed its coding")
        self._state = msgspec.structs.replace(self._state, copying=True)
        return True

    def _add(self, packet: Packet, *, time_ns: int) -> None:
        placed = self._ring.add(packet, time_ns=time_ns)
        running = self._running
        if running is not None:
            if placed.at_s >= running.end_s and running.first is not None:
                self._end(running)
            else:
                self._give(running, placed)
        self._changed.notify_all()

    def _begin(self, event: Event, at_s: float | None, now: float) -> _Running:
        settings = self._settings
        name = f"{self.name}-{event.time_ns}"
        start_s = (at_s or 0.0) - settings.before_s
        running = _Running(
            name,
            self._folder / f"{name}{PART}",
            end_s=(at_s or 0.0) + settings.after_s,
            latest_s=start_s + settings.max_s,
            due=now + settings.after_s + _GRACE_S,
            due_latest=now + settings.max_s + _GRACE_S,
        )
        running.event_s = at_s
        self._running = running
        for placed in _fitting(self._ring.since(start_s)):
            self._give(running, placed)
        self._changed.notify_all()
        return running

    def _give(self, running: _Running, placed: Placed) -> None:
        if running.first is None:
            if not placed.packet.keyframe:
                return
            running.first = placed
            running.copied = self._copying is not None
            if running.event_s is None:  # nothing had come when the event was told
                running.event_s = placed.at_s
                running.end_s = placed.at_s + self._settings.after_s
                running.latest_s = placed.at_s + self._settings.max_s
        running.waiting.append(placed)
        running.waiting_bytes += len(placed.packet.data)
        if running.waiting_bytes > 2 * self._settings.memory_bytes:
            self._end(running, cut="the disk was too slow")

    def _end(self, running: _Running, *, cut: str = "") -> None:
        running.closed, running.cut = True, running.cut or cut
        if self._running is running:
            self._running = None
        self._ending.append(running)
        self._changed.notify_all()

    # The writing thread.

    def _write_all(self) -> None:
        while (work := self._next()) is not None:
            running, packets, ends = work
            try:
                self._write(running, packets)
            except Exception as error:
                if not isinstance(error, EdgewiseError):
                    logger.exception("%s: a clip cannot be written", self.name)
                    error = EdgewiseError(f"A clip cannot be written: {error!r}", hint="The log tells where.")
                with self._changed:
                    running.error = error
                    running.waiting.clear()
                    if not running.closed:
                        self._end(running)
                    ends = True
            if ends:
                self._finish(running)

    def _next(self) -> tuple[_Running, list[Placed], bool] | None:
        """The next packets to write, and whether the clip ends with them; None when it was stopped."""
        with self._changed:
            while True:
                running = self._ending[0] if self._ending else self._running
                if running is not None:
                    if not running.closed and self._clock.monotonic() >= running.due:
                        self._end(running, cut="the source gave nothing more")
                    if running.waiting or running.closed:
                        packets, running.waiting, running.waiting_bytes = list(running.waiting), deque(), 0
                        return running, packets, running.closed
                elif self._stopping:
                    return None
                self._changed.wait(_TICK_S if running is not None else None)

    def _write(self, running: _Running, packets: list[Placed]) -> None:
        for placed in packets:
            writer = running.writer
            if not writer.fits(placed.packet.coding):
                with self._changed:
                    if not running.closed:
                        self._end(running, cut="the source changed its coding")
                return
            writer.write(placed.packet, gap_s=placed.gap_s)

    def _finish(self, running: _Running) -> None:
        with self._changed:
            if running in self._ending:
                self._ending.remove(running)
        error = running.error
        if error is None and running.first is None:
            error = EdgewiseError("No picture came while the clip ran", hint="Is the camera there?")
        if error is None:
            try:
                running.writer.finish()
            except EdgewiseError as raised:
                error = raised
        clip = self._told(running, error)
        if error is not None:
            running.writer.abandon()
        with self._changed:
            made = error is None
            self._state = msgspec.structs.replace(
                self._state,
                clips=self._state.clips + made,
                failed=self._state.failed + (not made),
                problem=str(error) if error is not None else "",
            )
        try:
            self._on_clip(clip)
        except Exception:
            logger.exception("%s: clip %s was made, but cannot be told", self.name, running.name)

    def _told(self, running: _Running, error: EdgewiseError | None) -> Clip:
        events = tuple(running.events)
        if error is not None or running.first is None:
            return Clip(running.name, self.name, None, events, error=error)
        writer, first = running.writer, running.first
        coding = writer.coding or first.packet.coding
        return Clip(
            running.name,
            self.name,
            writer.path,
            events,
            time_ns=first.time_ns,
            duration_s=round(writer.duration_s, 3),
            before_s=round(max(0.0, (running.event_s or first.at_s) - first.at_s), 3),
            width=coding.width,
            height=coding.height,
            codec=coding.codec,
            copied=running.copied,
            cut=running.cut,
        )

    # The encoding thread.

    def _encode_all(self) -> None:
        budget = _Budget(self._settings.max_cores)
        encoder: FrameEncoder | None = None
        last_ns = 0
        while (frame := self._next_frame()) is not None:
            if frame.time_ns - last_ns < 0.9e9 / self._settings.max_fps:
                continue
            if not budget.allows(self._clock.monotonic()):
                with self._changed:
                    self._state = msgspec.structs.replace(self._state, skipped=self._state.skipped + 1)
                continue
            last_ns = frame.time_ns
            try:
                encoder = self._encode(frame, encoder, budget)
            except Exception as error:
                logger.exception("%s: a picture cannot be encoded", self.name)
                with self._changed:
                    self._state = msgspec.structs.replace(self._state, problem=str(error))
                encoder = None

    def _next_frame(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._stopping)
            return None if self._stopping else self._frames.popleft()

    def _encode(self, frame: Frame, encoder: FrameEncoder | None, budget: _Budget) -> FrameEncoder:
        with self._lane.turn():
            start = time.thread_time()
            image: Image = frame.image
            if encoder is None or encoder.size != (frame.width, frame.height):
                encoder = FrameEncoder(
                    frame.width, frame.height, max_height=self._settings.max_height, quality=self._settings.quality
                )
            packets = encoder.encode(image, time_ns=frame.time_ns)
            budget.spend(time.thread_time() - start)
        with self._changed:
            if self._copying is None:
                self._state = msgspec.structs.replace(self._state, copying=False)
                for packet in packets:
                    self._add(packet, time_ns=frame.time_ns)
        return encoder


def _fitting(packets: list[Placed]) -> list[Placed]:
    """The packets at the end that one file can hold: of one codec and size."""
    first = len(packets)
    while first and _shape(packets[first - 1]) == _shape(packets[-1]):
        first -= 1
    return packets[first:]


def _shape(placed: Placed) -> tuple[str, int, int]:
    coding = placed.packet.coding
    return coding.codec, coding.width, coding.height


class _Budget:
    """A share of a core: time comes in steadily, and work takes it out."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._left_s = _BURST_S
        self._last: float | None = None

    def allows(self, now: float) -> bool:
        """Whether there is time left."""
        if self._last is not None:
            self._left_s = min(_BURST_S, self._left_s + (now - self._last) * self._cores)
        self._last = now
        return self._left_s > 0

    def spend(self, seconds: float) -> None:
        """Takes time out."""
        self._left_s -= seconds


def leftovers(folder: Path) -> list[Path]:
    """Clips that a crash cut off; each file is named ``NAME.part``."""
    return sorted(folder.glob(f"*{PART}"))
