"""What a child and its parent say to each other, and what either may rely on.

The child calls, over HTTPS, under ``PREFIX``; bodies are MessagePack. Each request but those of ``OPEN`` proves who
sends it (``trust.proof``: headers ``authorization: DPoP TOKEN`` and ``dpop: PROOF``); each answer states the nonce of
the next proof (``dpop-nonce``). An error has the same JSON body as everywhere in the API, and the child raises it again
as what it is.

* ``GET authority``: the parent's certificates, for whoever knows their fingerprint. Open.
* ``POST join``: ``Join`` → ``Joined``. The proof introduces the node; the token in the body lets it in.
* ``POST token``: a proof that names the node → an access token.
* ``POST hello``: ``Hello`` → ``Welcome``. The first thing of a connection: who is there, what each side has.
* ``POST records``: ``Records`` → ``Taken``. When it is answered they are on the parent's disk. Whatever is repeated is
  recognised; what does not join on is refused with ``expected``, and the child says hello again.
* ``POST work``, ``POST answer``: requests that come down; see ``link.work``.
* ``POST infer``: what a model of the parent says of a picture; see ``link.consult``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from edgewise.errors import DecodeError
from edgewise.journal.base import Batch, StreamState
from edgewise.link.budget import BudgetSettings

PREFIX = "/link/v1"
OPEN = (f"{PREFIX}/authority",)
"""Paths that prove nothing."""

MAX_RECORDS_BYTES = 8 << 20
"""Bound of a body of records."""

MAX_BODY_BYTES = 1 << 20
"""Bound of every other body, and of answers."""

MAX_NODES = 10_000
"""Nodes that a child may bring."""

NONCE = "dpop-nonce"
PROOF = "dpop"

_Streams: TypeAlias = Annotated[tuple[StreamState, ...], Meta(max_length=65536)]


class UplinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How records go up.

    Attributes:
        gather_s: Readings wait so long for others to travel with; events and alarms go at once.
        streams: The streams of this node that go up; those of its children all do.
        budget: What the way to the parent may cost.
        may_ask: What the parent, and those who ask it, may do here over the link: run models, see what this node sees,
            and only if it is named, command devices and feed sources. Nobody becomes an admin this way; empty for
            nothing at all.
        asked_at_once: Requests of the parent that are answered at once; more wait there.
    """

    gather_s: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    streams: tuple[str, ...] = ("alarms", "events", "decisions", "readings", "audit")
    budget: BudgetSettings = BudgetSettings()
    may_ask: tuple[Literal["predict", "read", "operate"], ...] = ("predict", "read")
    asked_at_once: Annotated[int, Meta(ge=1, le=64)] = 8


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node wants to be a child.

    Attributes:
        secret: Of its join token.
        journal: Identity of its journal.
    """

    secret: Annotated[bytes, Meta(max_length=64)]
    journal: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class Joined(msgspec.Struct, frozen=True):
    """The node is a child of ``parent`` now."""

    parent: str
    time_s: float


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A child is there.

    Attributes:
        journal: Identity of its journal.
        version: Of the program.
        streams: What it has, of itself and of the nodes that it brings.
    """

    journal: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    version: Annotated[str, Meta(max_length=64)]
    streams: _Streams


class Welcome(msgspec.Struct, frozen=True):
    """The parent knows it.

    Attributes:
        parent: Its name.
        time_s: The parent's wall clock, seconds since the Unix epoch.
        marks: How far the parent has each of the streams.
    """

    parent: str
    time_s: float
    marks: _Streams


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records on their way up, at most one batch of each stream."""

    batches: Annotated[tuple[Batch, ...], Meta(min_length=1, max_length=4096)]


class Taken(msgspec.Struct, frozen=True):
    """How far the parent has the streams of which it was sent records."""

    marks: _Streams


MEMBERSHIP = "parent.json"
"""The file in a child's link folder that says whose child it is."""


class _Named(msgspec.Struct):
    node: str


def joined_as(folder: Path) -> str:
    """The name under which the node with this link folder joined its parent; empty when it is nobody's child."""
    try:
        return msgspec.json.decode((folder / MEMBERSHIP).read_bytes(), type=_Named).node
    except (OSError, msgspec.MsgspecError):  # whoever opens the link tells
        return ""


encode = msgspec.msgpack.Encoder().encode
_T = TypeVar("_T")


def decode(body: bytes | memoryview, kind: type[_T]) -> _T:
    """What was sent.

    Raises:
        DecodeError: It is not of that kind.
    """
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"This is no {kind.__name__}: {error}", hint="Use the same release on both sides.") from error
