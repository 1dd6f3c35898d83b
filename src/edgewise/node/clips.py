"""The node's clips: events get the name of their clip before they are written down, and what became of it is written
down when it has ended, as an event of its own.

A clip's name is ``SOURCE-TIME`` (its first event's time, nanoseconds since the Unix epoch), so that its record is found
in the journal by time, without another index.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import EdgewiseError, NotFoundError, StorageFullError
from edgewise.node.patience import append_patiently
from edgewise.node.streams import EVENTS
from edgewise.pipeline.recorder import PART, Recorder, leftovers
from edgewise.pipeline.recording import Clip
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise.journal.base import Journal
    from edgewise.journal.blobs import BlobStore
    from edgewise.pipeline.base import Event

RECORDED = "clip.recorded"
FAILED = "clip.failed"
LOST = "clip.lost"
MEDIA_TYPE = "video/mp4"

# Events are written down in nearly the order of their times; a search by time begins so much earlier, and ends so much
# later than the longest clip could.
_SLACK_NS = 120 * 1_000_000_000
_LONGEST_NS = 4000 * 1_000_000_000
_MAX_SCANNED = 20_000
_PAGE = 500

logger = logging.getLogger(__name__)


class ClipFacts(msgspec.Struct, frozen=True):
    """A clip, wherever it is in its life.

    Attributes:
        name: Its name, as its events carry it.
        source: Of the pipeline it shows.
        state: ``recording``, ``recorded``, ``failed``, ``lost`` (a crash cut it off), ``evicted`` (it was recorded, and
            pushed out since).
        digest: SHA-256 of the video; empty unless it is recorded.
        events: Sequences of the events in it.
        start_ns: When it begins, nanoseconds since the Unix epoch.
        duration_s: Its length.
        before_s: Of that, before its first event.
        width: Pixels.
        height: Pixels.
        codec: FFmpeg's name, such as ``h264``.
        bytes: Of the video.
        copied: Whether it holds what the source sent, unchanged.
        cut: Why it ended before its time; empty when it did not.
        reason: Why there is none; empty when there is one.
    """

    name: str
    source: str
    state: str
    digest: str = ""
    events: tuple[int, ...] = ()
    start_ns: int = 0
    duration_s: float = 0.0
    before_s: float = 0.0
    width: int = 0
    height: int = 0
    codec: str = ""
    bytes: int = 0
    copied: bool = False
    cut: str = ""
    reason: str = ""


class Clips:
    """Records clips for the pipelines that ask for it. Safe for threads.

    Args:
        folder: Where they are written; on the file system of ``blobs``.
        journal: Where their records go.
        blobs: Where they are kept.
        stopped: Set when the node stops.
    """

    def __init__(self, folder: Path, *, journal: Journal, blobs: BlobStore, stopped: threading.Event) -> None:
        self.recorders: dict[str, Recorder] = {}
        self._folder = folder
        self._journal = journal
        self._blobs = blobs
        self._stopped = stopped
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self) -> None:
        """Tells which clips the last end of the node cut off, and begins to record."""
        for path in leftovers(self._folder):
            name = path.name.removesuffix(PART)
            body = {"clip": name, "source": name.rpartition("-")[0], "reason": "the node ended while it was recorded"}
            self._append(Entry(LOST, body))
            path.unlink()
        for recorder in self.recorders.values():
            recorder.start()

    def add(self, recorder: Recorder) -> None:
        """Begins to record another pipeline."""
        recorder.start()
        self.recorders = {**self.recorders, recorder.name: recorder}  # others may be walking through the old ones

    def remove(self, name: str) -> None:
        """Ends recording a pipeline, and keeps the clip that runs."""
        if recorder := self.recorders.get(name):
            self.recorders = {other: each for other, each in self.recorders.items() if other != name}
            recorder.stop()

    def stop(self) -> None:
        """Ends the clips that run, and keeps them."""
        for recorder in self.recorders.values():
            recorder.stop()

    def begin(self, event: Event) -> str:
        """The name of the clip that shows an event, which begins or goes on with this; empty when there is none."""
        recorder = self.recorders.get(event.source)
        if recorder is None:
            return ""
        try:
            return recorder.trigger(event)
        except OSError as error:  # the event is worth more than its clip
            logger.warning("%s: no clip of %s: %s", event.source, event.kind, error)
            reason = {"code": StorageFullError.code, "message": f"A clip cannot be begun: {error.strerror}", "hint": ""}
            self._append(Entry(FAILED, {"source": event.source, "clip": "", "events": [], "error": reason}))
            return ""

    def link(self, name: str, source: str, sequence: int) -> None:
        """Tells under which sequence the event of a clip stands."""
        if recorder := self.recorders.get(source):
            recorder.link(name, sequence)

    def keep(self, clip: Clip) -> None:
        """Takes a clip that has ended."""
        error, entry = clip.error, None
        if clip.path is not None:
            try:
                entry = self._stored(clip, clip.path)
            except EdgewiseError as raised:
                error = raised
                clip.path.unlink(missing_ok=True)
        if entry is None:
            facts = {"code": error.code, "message": error.message, "hint": error.hint} if error else {}
            body = {"source": clip.source, "clip": clip.name, "events": list(clip.events), "error": facts}
            entry = Entry(FAILED, body)
        self._append(entry)

    def find(self, name: str) -> ClipFacts:
        """A clip by its name.

        Raises:
            NotFoundError: There is none of that name, or it is too long ago.
        """
        for recorder in self.recorders.values():
            if recorder.state().recording == name:
                return ClipFacts(name, recorder.name, "recording")
        source, _, time_ns = name.rpartition("-")
        mentioned = False
        if source and time_ns.isascii() and time_ns.isdigit() and len(time_ns) < 20:
            for record in self._around(int(time_ns)):
                if record.body.get("clip") == name:
                    if record.kind in (RECORDED, FAILED, LOST):
                        return self.facts(record)
                    mentioned = True
        if mentioned:  # its events are there: it is being written just now
            state = "recording" if source in self.recorders and self._path(name).exists() else "lost"
            return ClipFacts(name, source, state)
        raise NotFoundError(f"No clip is named {name!r:.80}", kind="clip", name=name[:80])

    def facts(self, record: Record) -> ClipFacts:
        """A clip by the record of its end."""
        body = record.body
        name, source = str(body.get("clip", "")), str(body.get("source", ""))
        if record.kind == LOST:
            return ClipFacts(name, source, "lost", reason=str(body.get("reason", "")))
        if record.kind == FAILED:
            reason = str(body.get("error", {}).get("message", ""))
            return ClipFacts(name, source, "failed", events=tuple(body.get("events", ())), reason=reason)
        known = {field: body[field] for field in ClipFacts.__struct_fields__ if field in body}
        digest = record.blobs[0] if record.blobs else ""
        facts = {**known, "name": name, "source": source, "state": "recorded", "digest": digest}
        clip = msgspec.convert(facts, ClipFacts)
        if not self._blobs.reachable(digest):
            return msgspec.structs.replace(clip, state="evicted", digest="", reason="newer clips needed the room")
        return clip

    def _stored(self, clip: Clip, path: Path) -> Entry:
        size = path.stat().st_size
        digest = self._blobs.put_file(path, media_type=MEDIA_TYPE)
        body: dict[str, Any] = {
            "source": clip.source,
            "clip": clip.name,
            "events": list(clip.events),
            "start_ns": clip.time_ns,
            "duration_s": clip.duration_s,
            "before_s": clip.before_s,
            "width": clip.width,
            "height": clip.height,
            "codec": clip.codec,
            "bytes": size,
            "copied": clip.copied,
            "cut": clip.cut,
        }
        return Entry(RECORDED, body, (digest,))

    def _append(self, entry: Entry) -> None:
        append_patiently(self._journal, EVENTS, [entry], stopped=self._stopped)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{PART}"

    def _around(self, time_ns: int) -> Sequence[Record]:
        """Records from shortly before a time to what a clip of that time can have left."""
        found: list[Record] = []
        after = _before(self._journal, time_ns - _SLACK_NS)
        while len(found) < _MAX_SCANNED:
            page = self._journal.read(EVENTS, after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE or page[-1].time_ns > time_ns + _LONGEST_NS:
                break
            after = page[-1].sequence
        return found


def _before(journal: Journal, time_ns: int) -> int:
    """A sequence before which all records are older than ``time_ns``, found by halving."""

    def first(**selection: Any) -> Record | None:
        return next(iter(journal.read(EVENTS, limit=1, **selection)), None)

    oldest, newest = first(), first(newest_first=True)
    if oldest is None or newest is None:
        return 0
    low, high = oldest.sequence - 1, newest.sequence
    while low < high:
        middle = (low + high) // 2
        record = first(after=middle)
        if record is not None and record.time_ns < time_ns:
            low = record.sequence
        else:
            high = middle
    return low
