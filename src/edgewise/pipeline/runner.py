"""One running pipeline: a thread that reads a source, a thread that works on its samples.

The reader never waits for the worker unless the source is one that can wait (files): of a live source the newest frame
wins, and what was pushed out is counted. A source that breaks off is opened again with backoff; an error in one frame
is counted and does not stop the stream. The picture for the live view is drawn only when somebody looks.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from edgewise._lib.clock import Clock
from edgewise.errors import EdgewiseError, UnavailableError
from edgewise.media.mask import Mask
from edgewise.pipeline.backoff import Backoff
from edgewise.pipeline.base import (
    Batched,
    Counting,
    Event,
    Flushing,
    Frame,
    Observation,
    Reading,
    Sample,
    Source,
    Transform,
    WhenFull,
)
from edgewise.pipeline.batching import Batcher
from edgewise.pipeline.evidence import Evidence, Witness
from edgewise.pipeline.joint import Doubting, Second, UnsureSettings, settled
from edgewise.pipeline.live import Listeners, LivePictures
from edgewise.pipeline.queue import BoundedQueue
from edgewise.pipeline.scheduler import Lane

if TYPE_CHECKING:
    from edgewise.models.prediction import Prediction
    from edgewise.types import Image

# What a source or transform may take to come to its end when the pipeline stops. Past it the (daemon) thread is left.
STOP_TIMEOUT_S = 0.9
# Weight of the newest frame in the moving averages of rate and latency: about the last twenty frames count.
_NEWEST = 0.1

logger = logging.getLogger(__name__)


class Phase(enum.StrEnum):
    """Where a pipeline is. ``ended`` (nothing more to read), ``failed`` and ``stopped`` are final."""

    NEW = "new"
    RUNNING = "running"
    RETRYING = "retrying"
    ENDED = "ended"
    FAILED = "failed"
    STOPPED = "stopped"


_NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.NEW: frozenset({Phase.RUNNING, Phase.STOPPED}),
    Phase.RUNNING: frozenset({Phase.RETRYING, Phase.ENDED, Phase.FAILED, Phase.STOPPED}),
    Phase.RETRYING: frozenset({Phase.RUNNING, Phase.ENDED, Phase.FAILED, Phase.STOPPED}),
    Phase.ENDED: frozenset({Phase.STOPPED}),
    Phase.FAILED: frozenset({Phase.STOPPED}),
    Phase.STOPPED: frozenset(),
}


class RunnerState(msgspec.Struct, frozen=True):
    """What a pipeline is doing, for people and metrics. Counts are since it was started.

    Attributes:
        name: Of the pipeline.
        phase: Where it is.
        frames: Samples read from the source.
        processed: Went through all transforms.
        dropped: Pushed out by newer ones before they were worked on.
        late: Not worked on, because they were older than the deadline.
        errors: Samples in which a transform, or the taker of an event, failed.
        events: Given out.
        retries: Times the source broke off.
        fps: Samples processed a second, by the moving average of the time from one to the next: also of samples that
            come in bursts.
        latency_ms: From taking a frame to having worked on it, moving average.
        width: Of the newest picture, pixels.
        height: Of the newest picture, pixels.
        unreadable: Pictures of the source that could not be decoded and were left out.
        problem: What went wrong last, while it is retrying or failed, or in a frame; empty before anything did.
        counts: What transforms changed or left out, by the transform's name and by what it did.
    """

    name: str
    phase: Phase = Phase.NEW
    frames: int = 0
    processed: int = 0
    dropped: int = 0
    late: int = 0
    errors: int = 0
    events: int = 0
    retries: int = 0
    fps: float = 0.0
    latency_ms: float = 0.0
    width: int = 0
    height: int = 0
    unreadable: int = 0
    problem: str = ""
    counts: Mapping[str, Mapping[str, int]] = {}


class PipelineRunner:
    """Runs one pipeline.

    Args:
        name: Its name in the settings.
        source: Where frames come from; closed by ``stop``.
        transforms: What is done with each frame, in order.
        on_event: Called for each event, with its snapshot stored, in the worker's thread: while it runs, frames wait
            or are dropped.
        lane: Whose turns the transforms take.
        clock: For latency and backoff.
        on_readings: Called with the readings of each observation that has any, in the worker's thread.
        store: Stores a snapshot (JPEG) and returns its digest; without it events have no snapshot.
        deadline_s: A sample older than this is not worked on any more; 0 for none.
        queue: Samples that wait at most.
        when_full: None leaves it to the source: a live one drops the oldest, another waits.
        backoff: How long to wait before a source that broke off is opened again.
        mask: Parts of pictures that are blanked before anything else sees them.
        on_frame: Called with every picture that is read, masked, in the reader's thread; returns at once.

    Attributes:
        pictures: JPEGs of what it sees.
        listeners: Who wants to hear of each observation.
        frames: Who wants each picture that is read, masked.
        witness: Makes the evidence that goes into events; None for none.
        is_heard: Whether anybody decides on an event, so that it needs evidence.
        batcher: Joins the pictures of pipelines that use the same model; None for each alone.
        second: Whom transforms that are unsure may ask; None for nobody.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        transforms: Sequence[Transform],
        on_event: Callable[[Event], None],
        *,
        lane: Lane,
        clock: Clock,
        on_readings: Callable[[Sequence[Reading]], None] = lambda _: None,
        store: Callable[[bytes], str] | None = None,
        deadline_s: float = 0.0,
        queue: int = 2,
        when_full: WhenFull | None = None,
        backoff: Backoff | None = None,
        mask: Mask | None = None,
        on_frame: Callable[[Frame], None] = lambda _: None,
        witness: Witness | None = None,
        is_heard: Callable[[Event], bool] = lambda _: True,
        batcher: Batcher | None = None,
        second: Second | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self._transforms = tuple(transforms)
        self._on_event = on_event
        self._on_readings = on_readings
        self._lane = lane
        self._deadline_ns = int(deadline_s * 1e9)
        self._clock = clock
        self._store = store
        self._backoff = backoff or Backoff()
        self._mask = mask or Mask(())
        self._on_frame = on_frame
        self._witness = witness
        self._is_heard = is_heard
        self._batcher = batcher
        self._second = second
        policy = when_full or (WhenFull.DROP_OLDEST if source.live else WhenFull.BLOCK)
        self._queue: BoundedQueue[Sample] = BoundedQueue(queue, policy)
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._state = RunnerState(name)
        self._last_done = 0.0
        self._period_s = 0.0
        self._latest: Observation | None = None
        self.pictures = LivePictures(lane.turn)
        self.listeners: Listeners[Observation] = Listeners()
        self.frames: Listeners[Frame] = Listeners()
        self._reader = threading.Thread(target=self._read, name=f"{name}-reader", daemon=True)
        self._worker = threading.Thread(target=self._work, name=f"{name}-worker", daemon=True)

    def start(self) -> None:
        """Starts both threads."""
        self._enter(Phase.RUNNING)
        self._worker.start()
        self._reader.start()

    def stop(self) -> None:
        """Ends both threads within a second; frames that wait are not worked on. May be called twice."""
        self._stopping.set()
        self._queue.close(discard=True)
        self.source.close()
        for thread in (self._reader, self._worker):
            if thread.is_alive():
                thread.join(STOP_TIMEOUT_S / 2)
                if thread.is_alive():
                    logger.warning("%s is still busy; it is left to end by itself", thread.name)
        self._enter(Phase.STOPPED)

    def join(self, timeout_s: float | None = None) -> bool:
        """Waits until the source has ended and all its frames were worked on; False when time ran out first."""
        final = {Phase.ENDED, Phase.FAILED, Phase.STOPPED}
        with self._changed:
            return self._changed.wait_for(lambda: self._state.phase in final, timeout_s)

    def state(self) -> RunnerState:
        """What it is doing now."""
        with self._changed:
            return msgspec.structs.replace(
                self._state,
                dropped=self._queue.dropped + self.source.dropped,
                unreadable=self.source.unreadable,
                counts=_counts(self._transforms),
            )

    def observation(self) -> Observation | None:
        """The newest observation; None before the first."""
        with self._changed:
            return self._latest

    def wait_next(self, after: int, *, timeout_s: float) -> Observation | None:
        """The newest observation whose sample's number is greater than ``after``.

        Args:
            after: Number of the frame that was shown last; 0 for none.
            timeout_s: How long to wait for it.

        Returns:
            None when none came in time, or the pipeline came to its end.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._number() > after or self._stopping.is_set(), timeout_s)
            observation = self._latest
        if observation is None or observation.sample.number <= after:
            return None
        return observation

    def _number(self) -> int:
        return self._latest.sample.number if self._latest is not None else 0

    def _read(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self._read_once()
                    break
                except UnavailableError as error:
                    self._retry(error)
        except EdgewiseError as error:
            self._enter(Phase.FAILED, problem=str(error))
        except Exception as error:
            logger.exception("%s: the source failed", self.name)
            self._enter(Phase.FAILED, problem=repr(error))
        finally:
            self._queue.close()

    def _read_once(self) -> None:
        for sample in self.source.read():
            if self.state().phase is Phase.RETRYING:
                self._enter(Phase.RUNNING, problem="")
            self._backoff.reset()
            self._update(frames=sample.number)
            if isinstance(sample, Frame):
                sample = self._masked(sample)
                self._update(width=sample.width, height=sample.height)
                self._on_frame(sample)
                self.frames.tell(sample)
            if not self._queue.put(sample):
                return

    def _masked(self, frame: Frame) -> Frame:
        """From here on nobody sees what the settings mask."""
        if not self._mask:
            return frame
        return msgspec.structs.replace(frame, picture=self._mask.cover(frame.picture))

    def _retry(self, error: UnavailableError) -> None:
        if self._stopping.is_set():
            return
        self._enter(Phase.RETRYING, problem=str(error))
        with self._changed:
            self._state = msgspec.structs.replace(self._state, retries=self._state.retries + 1)
        self._stopping.wait(self._backoff.next())

    def _work(self) -> None:
        while (sample := self._queue.get()) is not None:
            if self._deadline_ns and self._clock.time_ns() - sample.time_ns > self._deadline_ns:
                self._update(late=self._state.late + 1)
                continue
            with self._counting_errors(sample.number):
                self._process(sample)
        if not self._stopping.is_set():
            self._flush()
            self._enter(Phase.ENDED)

    def _process(self, sample: Sample) -> None:
        readings = (sample,) if isinstance(sample, Reading) else ()
        observation = self._transformed(Observation(sample, readings=readings), self._transforms)
        self._publish(observation)
        self._hand_on(observation)

    def _transformed(self, observation: Observation, transforms: Sequence[Transform]) -> Observation:
        for transform in transforms:
            if isinstance(transform, Batched) and (self._joins(transform) or self._unsure(transform)):
                observation = self._in_steps(transform, observation)
                continue
            with self._lane.turn():
                observation = transform.apply(observation)
        return observation

    def _joins(self, transform: Batched) -> bool:
        return self._batcher is not None and transform.model.batched

    def _unsure(self, transform: Batched) -> UnsureSettings | None:
        return transform.unsure if self._second is not None and isinstance(transform, Doubting) else None

    def _in_steps(self, transform: Batched, observation: Observation) -> Observation:
        """Like ``apply``, but the model may look at other pictures too, and who is asked for a second opinion is not
        waited for in a turn.
        """
        with self._lane.turn():
            picture = transform.wanted(observation)
        prediction = None if picture is None else self._predicted(transform, picture)
        unsure = self._unsure(transform)
        if prediction is not None and unsure is not None and self._second is not None:
            prediction = settled(prediction, unsure, observation.frame, self._second)
        with self._lane.turn():
            return transform.conclude(observation, prediction)

    def _predicted(self, transform: Batched, picture: Image) -> Prediction:
        if self._batcher is not None and transform.model.batched:
            return self._batcher.predict(self._lane, transform.model, picture)
        with self._lane.turn():
            return transform.model.predict(picture)

    def _flush(self) -> None:
        """Gives out what transforms held back, through those behind them."""
        for place, transform in enumerate(self._transforms):
            if isinstance(transform, Flushing):
                with self._counting_errors(0):
                    if held := transform.flush():
                        self._hand_on(self._transformed(held, self._transforms[place + 1 :]))

    def _hand_on(self, observation: Observation) -> None:
        number = observation.sample.number
        if observation.readings:
            with self._counting_errors(number):
                self._on_readings(observation.readings)
        if not observation.events:
            return
        blobs: tuple[str, ...] = ()
        with self._counting_errors(number):  # an alarm without its picture is better than none
            blobs = self._snapshot(observation)
        evidence: Evidence | None = None
        if self._witness is not None and any(map(self._is_heard, observation.events)):
            with self._counting_errors(number):
                evidence = self._witness.testify(observation)
        for event in observation.events:
            with self._counting_errors(number):
                self._on_event(_with(event, blobs, evidence))

    def _snapshot(self, observation: Observation) -> tuple[str, ...]:
        """The picture as it was taken; where the boxes are stands in the events."""
        from edgewise.media.images import encode_jpeg

        if self._store is None or not isinstance(observation.sample, Frame):
            return ()
        with self._lane.turn():
            jpeg = encode_jpeg(observation.sample.image)
        return (self._store(jpeg),)

    def _publish(self, observation: Observation) -> None:
        now = self._clock.monotonic()
        latency_ms = (self._clock.time_ns() - observation.sample.time_ns) / 1e6
        with self._changed:
            before = self._state
            elapsed = now - self._last_done
            self._last_done = now
            if before.processed:
                self._period_s = _average(self._period_s, elapsed)
            self._latest = observation
            self._state = msgspec.structs.replace(
                before,
                processed=before.processed + 1,
                events=before.events + len(observation.events),
                fps=1 / self._period_s if self._period_s > 0 else 0.0,
                latency_ms=_average(before.latency_ms, latency_ms),
            )
            self._changed.notify_all()
        self.listeners.tell(observation)

    @contextlib.contextmanager
    def _counting_errors(self, number: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            problem = str(error) if isinstance(error, EdgewiseError) else repr(error)
            with self._changed:
                first = problem != self._state.problem
                self._state = msgspec.structs.replace(self._state, errors=self._state.errors + 1, problem=problem)
            logger.log(
                logging.ERROR if first else logging.DEBUG, "%s, sample %d failed", self.name, number, exc_info=True
            )

    def _update(self, **fields: object) -> None:
        with self._changed:
            self._state = msgspec.structs.replace(self._state, **fields)

    def _enter(self, phase: Phase, **fields: object) -> None:
        with self._changed:
            if phase in _NEXT[self._state.phase]:
                self._state = msgspec.structs.replace(self._state, phase=phase, **fields)
            self._changed.notify_all()


def _with(event: Event, blobs: tuple[str, ...], evidence: Evidence | None) -> Event:
    """The event with what it was seen with."""
    if evidence is None:
        return msgspec.structs.replace(event, blobs=event.blobs + blobs)
    stored = (evidence.input,) if evidence.input else ()
    body = {**event.body, "evidence": msgspec.to_builtins(evidence)}
    return msgspec.structs.replace(event, body=body, blobs=event.blobs + blobs + stored)


def _counts(transforms: Sequence[Transform]) -> dict[str, Mapping[str, int]]:
    """What each transform counted; the second of a name is ``name-2``."""
    found: dict[str, Mapping[str, int]] = {}
    for transform in transforms:
        if isinstance(transform, Counting):
            same = sum(name.partition("-")[0] == transform.name for name in found)
            found[f"{transform.name}-{same + 1}" if same else transform.name] = transform.counts()
    return found


def _average(before: float, newest: float) -> float:
    return newest if before == 0 else before + _NEWEST * (newest - before)
