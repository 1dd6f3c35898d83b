"""What a child and its parent say to each other, and what either may rely on.

The child calls, over HTTPS, under ``PREFIX``; bodies are MessagePack. Each request but those of ``OPEN`` proves who
sends it (``trust.proof``: headers ``authorization: DPoP TOKEN`` and ``dpop: PROOF``); each answer states the nonce of
the next proof (``dpop-nonce``), and, to who proves itself to an authority that was followed by another, that one
(``successor``; ``Pin.follow``). Requests after the first of a connection go by a session (``trust.sessions``). An error
has the same JSON body as everywhere in the API, and the child raises it again as what it is.

* ``GET authority``: the parent's certificates, for whoever knows their fingerprint. Open.
* ``POST join``: ``Join`` → ``Joined``. The proof introduces the node; the token in the body lets it in.
* ``POST token``: a proof that names the node → an access token.
* ``GET key``: → ``KeyState``: which key of the child counts. ``POST key``: the statement that changes it
  (``trust.rotation``) → ``KeyState``. From then on the old key is refused.
* ``POST hello``: ``Hello`` → ``Welcome``. The first thing of a connection: who is there, what each side has.
* ``POST leave``: the child is none any more: its key is refused from then on, and its name is free.
* ``POST records``: ``Records`` → ``Taken``. When it is answered they are on the parent's disk. Whatever is repeated is
  recognised; what does not join on is refused with ``expected``, and the child says hello again.
* ``POST blobs``: ``Offer`` → ``Begun``. A blob is to be sent, from the offset in the answer on; or the parent has it.
* ``PUT blobs/DIGEST/OFFSET``: bytes → ``Begun``. The next piece. With the last one the blob is checked and kept.
* ``GET blobs``: → ``Partials``. What was begun and not finished. ``DELETE blobs/DIGEST`` gives one of those up.
* ``GET blobs/DIGEST/OFFSET``: → ``Piece``. A blob on its way back.
* ``GET desired?have=POSITION``: a long poll → ``link.desired.Handed``: what the child and those below it are to have.
* ``POST state``: ``link.desired.Reports`` → nothing: what became of it.
* ``POST health``: ``Told`` → ``Noted`` (``link.reports``). How the child is, and the nodes below it.
* ``POST work``, ``POST answer``: requests that come down; see ``link.work``.
* ``POST infer``: what a model of the parent says of a picture; see ``link.consult``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar, get_args

import msgspec
from msgspec import Meta

from edgewise.errors import DecodeError
from edgewise.journal.base import Batch, StreamState
from edgewise.link.budget import BudgetSettings
from edgewise.trust.names import NodeName

PREFIX = "/link/v1"
OPEN = (f"{PREFIX}/authority",)
"""Paths that prove nothing."""

MAX_RECORDS_BYTES = 8 << 20
"""Bound of a body of records."""

MAX_BODY_BYTES = 1 << 20
"""Bound of every other body, and of answers."""

PIECE_BYTES = MAX_BODY_BYTES
"""Bound of a piece of a blob on its way up; on its way back it is ``FETCHED_BYTES``."""

FETCHED_BYTES = 256 << 10

MAX_NODES = 10_000
"""Nodes that a child may bring."""

NONCE = "dpop-nonce"
PROOF = "dpop"
SUCCESSOR = "successor"
"""Headers."""

Section: TypeAlias = Literal["pipelines", "rules", "models", "parent"]
SECTIONS: tuple[Section, ...] = get_args(Section)
"""The sections of a node's settings that a parent may set."""

_Streams: TypeAlias = Annotated[tuple[StreamState, ...], Meta(max_length=65536)]


class UplinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How records go up, and what may come down.

    Attributes:
        gather_s: Readings wait so long for others to travel with; events and alarms go at once.
        streams: The streams of this node that go up.
        below: The streams of the nodes below that go up; ``null`` is all. What does not, stays here: a pipeline with a
            source of kind ``below`` may make less of it first.
        media: Whether the snapshots, clips and other blobs that these records point to go up as well.
        budget: What the way to the parent may cost.
        may_change: Sections of this file that the parent may set from afar: ``pipelines``, ``rules``, ``models``,
            ``parent`` (all of it but this). Nothing, unless it stands here: who may set the pipelines looks through
            the cameras, and who may set the rules opens the door.
        may_ask: What the parent, and those who ask it, may do here over the link: run models, see what this node sees,
            and only if it is named, command devices and feed sources. Nobody becomes an admin this way; empty for
            nothing at all.
        asked_at_once: Requests of the parent that are answered at once; more wait there.
    """

    gather_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    streams: tuple[str, ...] = ("alarms", "events", "decisions", "readings", "audit")
    below: tuple[str, ...] | None = None
    media: bool = True
    budget: BudgetSettings = BudgetSettings()
    may_change: Annotated[tuple[Section, ...], Meta(max_length=16)] = ()
    may_ask: tuple[Literal["predict", "read", "operate"], ...] = ("predict", "read")
    asked_at_once: Annotated[int, Meta(ge=1, le=64)] = 8

    def sends(self, stream: str, *, own: bool) -> bool:
        """Whether a stream of that name goes up, of this node or of one below."""
        if own:
            return stream in self.streams
        return self.below is None or stream in self.below


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


class KeyState(msgspec.Struct, frozen=True):
    """What the parent takes from the child: a key (hex), and how often it was changed."""

    key: str
    changes: int


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A child is there.

    Attributes:
        journal: Identity of its journal.
        version: Of the program.
        streams: What it has, of itself and of the nodes that it brings.
        brings: The nodes that it brings, those without streams among them: all others it has released.
    """

    journal: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    version: Annotated[str, Meta(max_length=64)]
    streams: _Streams
    brings: Annotated[tuple[NodeName, ...], Meta(max_length=MAX_NODES)] = ()


class Welcome(msgspec.Struct, frozen=True):
    """The parent knows it.

    Attributes:
        parent: Its name.
        time_s: The parent's wall clock, seconds since the Unix epoch.
        marks: How far the parent has each of the streams.
        spread_s: A child that loses this connection comes back after a part of so many seconds, drawn at random: the
            parent knows how many there are.
        refused: The nodes of which nothing is taken from it, since they are somebody else's.
    """

    parent: str
    time_s: float
    marks: _Streams
    spread_s: float = 0.0
    refused: tuple[NodeName, ...] = ()


class Records(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Records on their way up, at most one batch of each stream."""

    batches: Annotated[tuple[Batch, ...], Meta(min_length=1, max_length=4096)]


class Taken(msgspec.Struct, frozen=True):
    """How far the parent has the streams of which it was sent records."""

    marks: _Streams


Digest: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A blob that a child has, and that records of its subtree point to."""

    digest: Digest
    size: Annotated[int, Meta(ge=0)]
    media_type: Annotated[str, Meta(max_length=64)]


class Begun(msgspec.Struct, frozen=True):
    """How far the parent has a blob: up to ``offset``; ``done`` once it is whole, checked and on its disk."""

    offset: int
    done: bool


class Partials(msgspec.Struct, frozen=True):
    """Blobs that a child has begun to send."""

    digests: tuple[Digest, ...]


class Piece(msgspec.Struct, frozen=True):
    """Bytes of a blob of ``size``; empty at its end."""

    size: int
    content: bytes


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
