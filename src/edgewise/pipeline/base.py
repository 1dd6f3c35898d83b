"""The seams of the pipeline: source -> transforms -> rules -> sinks.

A *frame* is one picture of a source at one time. A source yields frames; a transform turns a frame and what is known
of it into more knowledge (an *observation*); rules look at observations and readings and give *actions*; sinks carry
actions out. One implementation is one file; ``catalog.py`` names them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edgewise.types import Detection

if TYPE_CHECKING:
    from edgewise.types import Image


class WhenFull(enum.StrEnum):
    """What a bounded queue does with a new frame when it is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


class Frame(msgspec.Struct, frozen=True):
    """One picture of a source.

    Attributes:
        source: Name of the source in the settings.
        number: Counts from 1 since the source started, dropped frames included.
        time_ns: When it was taken, nanoseconds since the Unix epoch.
        image: ``uint8`` ``[height, width, 3]`` RGB.
    """

    source: str
    number: int
    time_ns: int
    image: Image


class Observation(msgspec.Struct, frozen=True):
    """What a pipeline knows of one frame. Transforms return a new one.

    Attributes:
        frame: The picture.
        objects: Things found so far, with names where they were matched.
        facts: Anything else, JSON-compatible, by the transform's name.
    """

    frame: Frame
    objects: tuple[Detection, ...] = ()
    facts: Mapping[str, Any] = {}


class Event(msgspec.Struct, frozen=True):
    """Something rules listen to: ``kind`` as in the journal, ``body`` with JSON-compatible facts."""

    kind: str
    source: str
    time_ns: int
    body: Mapping[str, Any]


class Action(msgspec.Struct, frozen=True):
    """What a rule wants done: a command of a sink, with its arguments, and the rule that asked."""

    sink: str
    command: str
    arguments: Mapping[str, Any]
    rule: str = ""


class Source(Protocol):
    """Where frames come from. ``frames`` is called once, in a thread of its own."""

    name: str

    def frames(self) -> Iterator[Frame]:
        """Yields frames until the source ends or is closed.

        Raises:
            UnavailableError: It cannot be opened, or broke off; the runner retries with backoff.
            DecodeError: What it holds is no picture or video.
        """
        ...

    def close(self) -> None:
        """Ends ``frames`` soon, from another thread."""
        ...


class Transform(Protocol):
    """Adds knowledge to an observation. Stateless ones may be called from several threads."""

    name: str

    def apply(self, observation: Observation) -> Observation:
        """Returns the observation with more in it."""
        ...


class Sink(Protocol):
    """Carries actions out. Safe for threads; ``perform`` returns once the action is handed over or raises."""

    name: str

    def perform(self, action: Action) -> None:
        """Does it.

        Raises:
            InputError: It has no such command, or the arguments do not fit.
            UnavailableError: It does not answer.
        """
        ...

    def close(self) -> None:
        """Releases what it holds."""
        ...
