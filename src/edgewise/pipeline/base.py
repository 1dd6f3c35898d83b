"""The seams of the pipeline: source -> transforms -> rules -> sinks.

A *frame* is one picture of a source at one time. A source yields frames; a transform turns a frame and what is known
of it into more knowledge (an *observation*), and where it sees that something happened, into *events*; rules look at
events and give *actions*; sinks carry actions out. One implementation is one file; ``catalog.py`` names them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from edgewise.types import Detection

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.types import Array, Image


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
        image: ``uint8`` ``[height, width, 3]`` RGB. Nobody writes into it.
    """

    source: str
    number: int
    time_ns: int
    image: Image


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


class Observation(msgspec.Struct, frozen=True):
    """What a pipeline knows of one frame. Transforms return a new one.

    Attributes:
        frame: The picture.
        objects: Things found so far, with names where they were matched.
        events: What happened in this frame.
        facts: Anything else, JSON-compatible, by the transform's name.
    """

    frame: Frame
    objects: tuple[Detection, ...] = ()
    events: tuple[Event, ...] = ()
    facts: Mapping[str, Any] = {}


class Action(msgspec.Struct, frozen=True):
    """One command for one device.

    Attributes:
        device: Name of the device in the settings.
        command: One of its commands.
        arguments: JSON-compatible arguments.
        key: Idempotency key: of all actions with one key, one acts. Never empty.
        expires_ns: From this time on (nanoseconds since the Unix epoch) it is too late and must not act.
        cause: Who asked: a rule's name, or the person or program behind a request.
    """

    device: str
    command: str
    arguments: Mapping[str, Any]
    key: str
    expires_ns: int
    cause: str = ""


class Status(enum.StrEnum):
    """What became of an action that did not fail."""

    DONE = "done"
    REPEATED = "repeated"
    EXPIRED = "expired"


class Outcome(msgspec.Struct, frozen=True):
    """The answer to an action: ``done`` (confirmed by the device), or why it did not act; ``state`` is the device's."""

    device: str
    status: Status
    state: dict[str, Any]


class Source(Protocol):
    """Where frames come from. The constructor takes ``(name, settings, *, clock)`` and opens nothing.

    Attributes:
        name: Its name in the settings.
        live: Whether time goes on without us (camera): frames that are not taken in time are lost anyway. A source
            that is not live (files) waits.
        dropped: Frames it lost itself, pushed out by newer ones before they were taken.
        unreadable: Pictures that could not be decoded and were left out.
    """

    name: str
    live: bool
    dropped: int
    unreadable: int

    def frames(self) -> Iterator[Frame]:
        """Yields frames until the source ends or is closed. Called from one thread at a time; called again after it
        raised ``UnavailableError``, and then goes on counting.

        Raises:
            UnavailableError: It cannot be opened, or broke off; the runner retries with backoff.
            NotFoundError: What it should read does not exist and will not appear by itself.
            DecodeError: What it holds is no picture or video.
        """
        ...

    def close(self) -> None:
        """Ends ``frames`` within half a second, from any thread; for good. May be called twice."""
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
    is called for its frames in order.
    """

    name: str

    def apply(self, observation: Observation) -> Observation:
        """Returns the observation with more in it."""
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
