"""The seams of the pipeline: source -> transforms -> rules -> sinks.

A source yields *samples* of one kind: frames (pictures), sounds (short pieces of audio) or readings (numbers of
sensors). A transform turns a sample and what is known of it into more knowledge (an *observation*), and where it sees
that something happened, into *events*; rules look at events and give *actions*; sinks carry actions out. One
implementation is one file; ``catalog.py`` names them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from edgewise.errors import InputError
from edgewise.media.packets import Packet
from edgewise.media.picture import Picture, luma_of
from edgewise.types import Detection

if TYPE_CHECKING:
    from pathlib import Path

    from edgewise.models.model import Model
    from edgewise.models.prediction import Prediction
    from edgewise.types import Array, Image

Value: TypeAlias = float | int | bool | str | None


S = TypeVar("S")


class Gives(enum.StrEnum):
    """Kinds of sample; a source gives one, a transform takes one or more."""

    FRAME = "frame"
    SOUND = "sound"
    READING = "reading"


class WhenFull(enum.StrEnum):
    """What a bounded queue does with a new frame when it is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


class Frame(msgspec.Struct, frozen=True):
    """One picture of a source.

    Attributes:
        source: Name of the source in the settings.
        number: Counts from 1 since the source was made, dropped frames included.
        time_ns: When it was taken, nanoseconds since the Unix epoch.
        picture: What was taken: ``uint8`` ``[height, width, 3]`` RGB, or a ``Picture`` that becomes it when somebody
            looks.
    """

    source: str
    number: int
    time_ns: int
    picture: Image | Picture

    @property
    def image(self) -> Image:
        """``uint8`` ``[height, width, 3]`` RGB. Nobody writes into it."""
        return self.picture.image if isinstance(self.picture, Picture) else self.picture

    @property
    def luma(self) -> Array:
        """Brightness alone, ``uint8`` ``[height, width]``: cheaper than the whole. Nobody writes into it."""
        return self.picture.luma if isinstance(self.picture, Picture) else luma_of(self.picture)

    @property
    def width(self) -> int:
        """Pixels."""
        return self.picture.width if isinstance(self.picture, Picture) else self.picture.shape[1]

    @property
    def height(self) -> int:
        """Pixels."""
        return self.picture.height if isinstance(self.picture, Picture) else self.picture.shape[0]


class Sound(msgspec.Struct, frozen=True):
    """A piece of a source's audio. The pieces of a source follow each other without gaps unless ``time_ns`` jumps.

    Attributes:
        source: Name of the source in the settings.
        number: Counts from 1 since the source was made, dropped pieces included.
        time_ns: When its first value was taken, nanoseconds since the Unix epoch.
        samples: ``float32`` ``[n]``, one channel, -1..1. Nobody writes into it.
        rate: Values a second (Hz).
    """

    source: str
    number: int
    time_ns: int
    samples: Array
    rate: int


class Reading(msgspec.Struct, frozen=True):
    """What sensors of a source said at one time.

    Attributes:
        source: Name of the source in the settings.
        number: Counts from 1 since the source was made, dropped readings included.
        time_ns: When it was measured, nanoseconds since the Unix epoch.
        values: Value by channel, such as ``{"temperature": 21.5}``; NaN never, None where a value is missing.
    """

    source: str
    number: int
    time_ns: int
    values: Mapping[str, Value]


class Event(msgspec.Struct, frozen=True):
    """Something happened; rules listen to it and the journal keeps it.

    Attributes:
        kind: As in the journal, such as ``face.known``: dotted, most general word first.
        source: Name of the source.
        time_ns: Time of the frame it was seen in.
        body: JSON-compatible facts.
        blobs: Digests of the blobs it points to; the first is its snapshot.
        sequence: Its place in the journal; 0 before it is there.
    """

    kind: str
    source: str
    time_ns: int
    body: Mapping[str, Any]
    blobs: tuple[str, ...] = ()
    sequence: int = 0


Sample: TypeAlias = Frame | Sound | Reading


class Observation(msgspec.Struct, frozen=True):
    """What a pipeline knows of one sample. Transforms return a new one.

    Attributes:
        sample: What the source gave.
        objects: Things found so far in a picture, with names where they were matched.
        events: What happened in this sample.
        facts: Anything else, JSON-compatible, by the transform's name.
        readings: What goes into the journal's ``readings``. A pipeline of readings begins with the sample itself
            here; transforms clean it, hold it back, or put others beside it.
        still: Nothing moved in this picture, so what can be seen in it was seen before: transforms that look at
            pictures repeat what they found in the last one that was not still, without computing it again.
    """

    sample: Sample
    objects: tuple[Detection, ...] = ()
    events: tuple[Event, ...] = ()
    facts: Mapping[str, Any] = {}
    readings: tuple[Reading, ...] = ()
    still: bool = False

    @property
    def frame(self) -> Frame:
        """The sample of a pipeline of pictures."""
        return _as(Frame, self.sample)

    @property
    def sound(self) -> Sound:
        """The sample of a pipeline of sound."""
        return _as(Sound, self.sample)

    @property
    def reading(self) -> Reading:
        """The sample of a pipeline of readings."""
        return _as(Reading, self.sample)


def _as(kind: type[S], sample: Sample) -> S:
    if not isinstance(sample, kind):
        raise InputError(f"A {kind.__name__.lower()} is needed here, not a {type(sample).__name__.lower()}")
    return sample


class Origin(enum.StrEnum):
    """Who wants something done, most binding first.

    ``safety`` is the node itself (locking again, fail-safe states), ``app`` a person through the console, an app or
    Home Assistant, ``parent`` the node above, ``rule`` a rule of this node.
    """

    SAFETY = "safety"
    APP = "app"
    PARENT = "parent"
    RULE = "rule"

    def outranks(self, other: Origin) -> bool:
        """Whether this one binds more."""
        order = list(Origin)
        return order.index(self) < order.index(other)


class Action(msgspec.Struct, frozen=True):
    """One command for one device.

    Attributes:
        device: Name of the device in the settings.
        command: One of its commands.
        arguments: JSON-compatible arguments.
        key: Idempotency key: of all actions with one key, one acts. Never empty.
        expires_ns: From this time on (nanoseconds since the Unix epoch) it is too late and must not act.
        cause: Who asked: a rule's name, or the person or program behind a request.
        origin: How binding it is; while a more binding one holds the device, this one is ``overruled``.
        hold_s: Seconds that less binding ones are kept away once it is done; None leaves it to the device's settings.
        deadline_s: The time of ``expires_ns`` by the node's monotonic clock, where it is known: what is too late by
            either clock is too late, so a wall clock that was set back revives nothing.
    """

    device: str
    command: str
    arguments: Mapping[str, Any]
    key: str
    expires_ns: int
    cause: str = ""
    origin: Origin = Origin.RULE
    hold_s: float | None = None
    deadline_s: float | None = None


class Status(enum.StrEnum):
    """What became of an action that did not fail."""

    DONE = "done"
    REPEATED = "repeated"
    EXPIRED = "expired"
    OVERRULED = "overruled"


class Hold(msgspec.Struct, frozen=True):
    """A device is held: what binds less than ``origin`` is overruled until then.

    Attributes:
        origin: Of the command that holds it.
        cause: Who asked for it.
        since_ns: Nanoseconds since the Unix epoch.
        until_ns: Nanoseconds since the Unix epoch, as the clock was when it began.
    """

    origin: Origin
    cause: str
    since_ns: int
    until_ns: int


class Outcome(msgspec.Struct, frozen=True):
    """The answer to an action: ``done`` (confirmed by the device), or why it did not act; ``state`` is the device's,
    and ``hold`` who holds it now.
    """

    device: str
    status: Status
    state: dict[str, Any]
    hold: Hold | None = None


class Source(Protocol):
    """Where samples come from. The constructor takes ``(name, settings, *, clock)`` and opens nothing.

    Attributes:
        gives: Kind of its samples.
        name: Its name in the settings.
        live: Whether time goes on without us (camera): samples that are not taken in time are lost anyway. A source
            that is not live (files) waits.
        dropped: Samples it lost itself, pushed out by newer ones before they were taken.
        unreadable: What could not be decoded and was left out.
    """

    gives: ClassVar[Gives]
    name: str
    live: bool
    dropped: int
    unreadable: int

    def read(self) -> Iterator[Sample]:
        """Yields samples until the source ends or is closed. Called from one thread at a time; called again after it
        raised ``UnavailableError``, and then goes on counting.

        Raises:
            UnavailableError: It cannot be opened, or broke off; the runner retries with backoff.
            NotFoundError: What it should read does not exist and will not appear by itself.
            DecodeError: What it holds cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Ends ``read`` within half a second, from any thread; for good. May be called twice."""
        ...


@runtime_checkable
class Pushable(Protocol):
    """Optional ability of a source: pictures are handed to it."""

    def push(self, image: Image) -> int:
        """Takes a picture; returns its frame number at once.

        Raises:
            ClosedError: The source was closed.
        """
        ...


@runtime_checkable
class Encoded(Protocol):
    """Optional ability of a source: it reads encoded video and hands the packets on too. Clips of it then need not be
    encoded anew.
    """

    def tap(self, take: Callable[[Packet], None]) -> None:
        """Names who takes the packets; called before ``read``.

        ``take`` is called with each packet, in order, before the frames decoded from it are yielded, and returns at
        once. Each time the source is opened anew its packets have a new ``coding``.
        """
        ...


class Measured(msgspec.Struct, frozen=True):
    """A reading before a source has taken it.

    Attributes:
        values: Value by channel; see ``Reading``.
        time_ns: When it was measured, nanoseconds since the Unix epoch; None when it does not say.
    """

    values: Mapping[str, Value]
    time_ns: int | None = None


@runtime_checkable
class Accepting(Protocol):
    """Optional ability of a source: readings are handed to it."""

    def accept(self, measured: Sequence[Measured]) -> int:
        """Takes readings, all or none, and returns the number of the last at once. They wait in memory, in their order.

        Raises:
            BusyError: They do not fit beside those that wait.
            TooLargeError: They would not fit if none waited.
            ClosedError: The source was closed.
        """
        ...


class Match(Protocol):
    """Whom a face belongs to, and how sure that is (cosine similarity)."""

    @property
    def name(self) -> str:
        """The person's name."""
        ...

    @property
    def similarity(self) -> float:
        """-1..1."""
        ...


class People(Protocol):
    """The people a node knows, as far as a pipeline needs them."""

    def match(self, vector: Array, *, model: str) -> Match | None:
        """Who has a face most like this one; None when nobody is like it enough.

        Args:
            vector: Embedding of unit length.
            model: Which model made it; those of another are never compared.
        """
        ...


class Tools(Protocol):
    """What the node lends to transforms."""

    def folder(self, name: str) -> Path:
        """A folder on the node's disk for what transforms of that name learn; it is there."""
        ...

    @property
    def people(self) -> People:
        """Whom the node knows."""
        ...

    def model(self, name: str) -> Model:
        """An open model of this node; it stays the node's to close.

        Raises:
            NotFoundError: It has no such model.
        """
        ...


class Transform(Protocol):
    """Adds knowledge to an observation. The constructor takes ``(settings, tools)``. One object serves one pipeline and
    is called for its samples in order.

    Attributes:
        takes: Kinds of sample it works on.
        name: Names its facts.
    """

    takes: ClassVar[frozenset[Gives]]
    name: str

    def apply(self, observation: Observation) -> Observation:
        """Returns the observation with more in it."""
        ...


@runtime_checkable
class Flushing(Protocol):
    """Optional ability of a transform: it holds something back that is given out when the source has ended."""

    def flush(self) -> Observation | None:
        """What was held back; None when nothing was."""
        ...


@runtime_checkable
class Batched(Protocol):
    """Optional ability of a transform: it looks at whole pictures by one model, which may look at those of several
    pipelines in one call. ``apply`` does the same alone.
    """

    @property
    def model(self) -> Model:
        """The model."""
        ...

    def wanted(self, observation: Observation) -> Image | None:
        """What the model is to look at; None when nothing."""
        ...

    def conclude(self, observation: Observation, prediction: Prediction | None) -> Observation:
        """The observation with what the model said; of the sample that ``wanted`` was asked about last."""
        ...


@runtime_checkable
class Counting(Protocol):
    """Optional ability of a transform: it counts what it changed or left out, so that nothing of it is silent."""

    def counts(self) -> Mapping[str, int]:
        """How often so far, by what it did, such as ``temperature.outlier``. May be called from any thread."""
        ...


class Sink(Protocol):
    """Carries actions out. Safe for threads."""

    def perform(self, action: Action) -> Outcome:
        """Does it, and returns once it is confirmed.

        Raises:
            NotFoundError: No device or command has that name.
            InputError: The arguments do not fit.
            UnavailableError: The device does not answer or did not confirm in time.
        """
        ...

    def close(self) -> None:
        """Releases what it holds."""
        ...
