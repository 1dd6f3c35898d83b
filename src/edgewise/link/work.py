"""What parent and child say to each other about requests: the child fetches them, and sends their answers.

The child calls here too. It keeps one long poll open by which the parent hands down what people and apps ask of it, and
sends each answer up in numbered parts over other connections. So a lost poll, a lost part and a lost answer to a part
are all told apart:

* ``POST work``: ``Poll`` → ``Work``. Answered at once when there is something, else after ``wait_s``. A poll states
  what the child has under way: what it was handed and does not state never arrived, or was given up. It states as well
  how many bytes of the day are left for requests, so what would go beyond is refused by the parent and costs none.
* ``POST answer/ID``: ``Part`` → ``Heard``. A part that was sent before is recognised by its number. It is answered
  once there is room for the next one, so an answer goes no faster than it is read; and the answer says when nobody
  wants the rest.

A child speaks for itself alone: it answers what it was handed, and nothing else.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from edgewise.link.base import MAX_NODES
from edgewise.trust.names import NodeName

POLL_S = 25.0
"""How long a poll waits: less than what proxies and NATs forget connections after."""

BRINGING_POLL_S = 5.0
"""The same of a child that has children: a poll is how those above hear of a new one."""

MAX_REQUEST_BYTES = 32 << 20
"""Bound of the body of a request that is handed down."""

MAX_PART_BYTES = 1 << 20
"""Bound of the body of a part."""

MAX_MESSAGE_BYTES = MAX_PART_BYTES + (64 << 10)
"""Bound of a part with its head."""

MAX_WORK_BYTES = MAX_REQUEST_BYTES + (1 << 20)
"""Bound of what a poll is answered."""

MAX_AT_ONCE = 64
"""Requests that a child may have under way."""

Headers: TypeAlias = Annotated[
    tuple[tuple[Annotated[bytes, Meta(max_length=64)], Annotated[bytes, Meta(max_length=8192)]], ...],
    Meta(max_length=64),
]
_Id: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class Asked(msgspec.Struct, frozen=True):
    """A request that somebody made to the parent and that this node, or one below it, is to answer.

    Attributes:
        id: Of this try of it.
        method: Such as ``GET``.
        path: In the child's own API.
        query: As it was sent.
        headers: Those that concern the answer; nothing that tells who asks.
        body: Whole.
        who: Asks, as the parent knows them; for the audit log.
        client: The address they asked from.
        permissions: What they may do at the parent.
        within_s: The answer is of use when it begins by then.
    """

    id: _Id
    method: Annotated[str, Meta(max_length=16)]
    path: Annotated[str, Meta(max_length=4096)]
    query: Annotated[bytes, Meta(max_length=8192)] = b""
    headers: Headers = ()
    body: bytes = b""
    who: Annotated[str, Meta(max_length=256)] = ""
    client: Annotated[str, Meta(max_length=64)] = ""
    permissions: tuple[str, ...] = ()
    within_s: float = 60.0


class Poll(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The child asks what there is to do.

    Attributes:
        most: Requests that it takes at once.
        workers: And so many of them it computes at once.
        holding: Those that it has under way.
        wait_s: How long the poll waits when there is nothing.
        brings: The nodes below it; None when they are the same as in the poll before on this connection.
        left: Bytes that requests and their answers may still use today; None for any number. When there are none the
            next poll comes within ``link.spending.REST_S``.
    """

    most: Annotated[int, Meta(ge=1, le=MAX_AT_ONCE)]
    holding: Annotated[tuple[_Id, ...], Meta(max_length=MAX_AT_ONCE)] = ()
    workers: Annotated[int, Meta(ge=1, le=1024)] = 1
    wait_s: Annotated[float, Meta(ge=0, le=POLL_S)] = POLL_S
    brings: Annotated[tuple[NodeName, ...], Meta(max_length=MAX_NODES)] | None = None
    left: Annotated[int, Meta(ge=0)] | None = None


class Work(msgspec.Struct, frozen=True):
    """What there is to do; ``dropped``: what nobody waits for any more."""

    asked: tuple[Asked, ...] = ()
    dropped: tuple[str, ...] = ()


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an answer.

    Attributes:
        number: From 0.
        body: May be empty.
        last: Nothing comes behind it.
        broken: The answer ends here though it is not whole.
        status: Of the answer; of the first part.
        headers: The same.
        spent: It is broken because the child's bytes for today are used up.
    """

    number: Annotated[int, Meta(ge=0, le=2**53)]
    body: Annotated[bytes, Meta(max_length=MAX_PART_BYTES)] = b""
    last: bool = False
    broken: bool = False
    status: Annotated[int, Meta(ge=200, le=599)] = 200
    headers: Headers = ()
    spent: bool = False


class Heard(msgspec.Struct, frozen=True):
    """The number of the part that is expected next, and whether somebody still wants it."""

    next: int
    goes_on: bool
