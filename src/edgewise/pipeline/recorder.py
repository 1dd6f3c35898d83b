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

import fnmatch
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import EdgewiseError
from edgewise.media.clips import PLAYABLE, ClipWriter, mp4_codecs
from edgewise.media.packets import Coding, Packet
from edgewise.pipeline.base import Event, Frame
from edgewise.pipeline.encoding import Encoding, Turns
from edgewise.pipeline.recording import Clip, RecorderState, RecordSettings
from edgewise.pipeline.ring import PacketRing, Placed

PART = ".part"
# Events are told a little after their picture was taken; the ring reaches back that much further.
_LATE_S = 5.0
# A clip whose source gives nothing more ends so long after its end was due.
_GRACE_S = 1.0
_TICK_S = 0.1

logger = logging.getLogger(__name__)


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
        self._stopping = False
        self._encoding = Encoding(name, settings, self._encoded, self._not_encoded, clock=clock, lane=lane)
        self._thread = threading.Thread(target=self._write_all, name=f"{name}-clips", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()
        self._encoding.start()

    def stop(self) -> None:
        """Ends the clip that runs where it is, and writes it. May be called twice."""
        self._encoding.stop()
        with self._changed:
            self._stopping = True
            if self._running is not None:
                self._end(self._running, cut="the node was stopped")
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def state(self) -> RecorderState:
        """What it is doing now."""
        with self._changed:
            return msgspec.structs.replace(
                self._state,
                recording=self._running.name if self._running else "",
                memory_bytes=self._ring.kept_bytes,
                skipped=self._encoding.skipped,
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
            copying = self._copying is not None
        if not copying:
            self._encoding.put(frame)

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
            self._encoding.clear()
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

    def _encoded(self, packets: Sequence[Packet], time_ns: int) -> None:
        with self._changed:
            if self._copying is None:
                self._state = msgspec.structs.replace(self._state, copying=False)
                for packet in packets:
                    self._add(packet, time_ns=time_ns)

    def _not_encoded(self, error: Exception) -> None:
        with self._changed:
            self._state = msgspec.structs.replace(self._state, problem=str(error))


def _fitting(packets: list[Placed]) -> list[Placed]:
    """The packets at the end that one file can hold: of one codec and size."""
    first = len(packets)
    while first and _shape(packets[first - 1]) == _shape(packets[-1]):
        first -= 1
    return packets[first:]


def _shape(placed: Placed) -> tuple[str, int, int]:
    coding = placed.packet.coding
    return coding.codec, coding.width, coding.height


def leftovers(folder: Path) -> list[Path]:
    """Clips that a crash cut off; each file is named ``NAME.part``."""
    return sorted(folder.glob(f"*{PART}"))
