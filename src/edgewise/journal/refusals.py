"""The errors that more than one adapter raises, in the same words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from edgewise.errors import ClosedError, ConflictError, InputError, NotFoundError, StorageFullError, TooLargeError


def closed() -> ClosedError:
    """Used after ``close``."""
    return ClosedError("The journal is closed.")


def unknown_stream(name: str, known: Iterable[str]) -> NotFoundError:
    """A name that no stream has."""
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"It has {', '.join(known) or 'none'}."
    return NotFoundError(f"The journal has no stream {name!r}.", hint=hint, kind="stream", name=name)


def not_appended_to(name: str) -> NotFoundError:
    """A stream that is kept, but that this node does not write (any more)."""
    hint = "Its own node appends to it." if "/" in name else f"Add journal.{name} to the settings."
    return NotFoundError(f"Stream {name!r} can be read here, not appended to.", hint=hint, kind="stream", name=name)


def too_large(stream: str, size: int, *, limit: int) -> TooLargeError:
    """One append that is larger than its whole stream."""
    return TooLargeError(
        f"{size} bytes at once are past the {limit} of stream {stream!r}.",
        hint=f"Append fewer entries at once, or raise journal.{stream}.max_bytes.",
        limit=limit,
        actual=size,
    )


def stream_full(stream: str, *, limit: int) -> StorageFullError:
    """A stream whose policy is to block stayed full."""
    return StorageFullError(
        f"Stream {stream!r} is full, and no more of it is acknowledged by all consumers.",
        hint="Acknowledge records, forget consumers that are gone, or raise the stream's max_bytes.",
        stream=stream,
        limit=limit,
    )


def never_claimed(stream: str, consumer: str) -> ConflictError:
    """An acknowledgement by a consumer that is not registered."""
    return ConflictError(
        f"Consumer {consumer!r} never claimed from stream {stream!r}.",
        hint="Claim records before acknowledging them.",
        stream=stream,
        consumer=consumer,
    )


def not_so_far(stream: str, through: int, *, last: int) -> ConflictError:
    """An acknowledgement of what is not there."""
    return ConflictError(
        f"Stream {stream!r} goes as far as {last}, not {through}.", stream=stream, through=through, last=last
    )


def custody_full(*, limit: int) -> StorageFullError:
    """No room for the records of other nodes."""
    return StorageFullError(
        "The room for other nodes' records is used up, and all of them still wait for a consumer.",
        hint="Records stay with the children until there is room; raise journal bounds, or see to the consumer.",
        limit=limit,
    )


def too_many_streams(*, limit: int) -> TooLargeError:
    """More streams of other nodes than a journal holds."""
    return TooLargeError(
        f"The journal holds {limit} streams already.", hint="Give children another parent.", limit=limit
    )


def check_claim(consumer: str, limit: int) -> None:
    """Refuses a claim that names nobody or nothing."""
    if not consumer or limit < 1:
        raise InputError("A claim needs a consumer's name and a limit of at least 1.", consumer=consumer, limit=limit)
