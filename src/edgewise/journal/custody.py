"""Taking over another node's records: what is refused, what is known already, what is missing. Pure.

A parent keeps a child's streams under the child's name and sequences. The newest sequence it has of a stream is the
*high-water mark*: everything up to it was taken or told missing, so whatever comes again is recognised by its sequence
alone, and taking it over is exactly once however often it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from edgewise.errors import ConflictError, InputError
from edgewise.journal.base import Batch, Missing, Packed, Reason
from edgewise.journal.blocks import MAX_SEQUENCE

Part: TypeAlias = Packed | Missing

MAX_PARTS = 4096
"""Parts of a batch at most."""

_NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_MAX_NAME = 64


def key_of(node: str, stream: str) -> str:
    """How a stream of another node is named where a stream's name is asked for."""
    return f"{node}/{stream}"


def key_at(node: str, stream: str, *, own: str) -> str:
    """The same of any stream, in the journal of the node ``own``: that node's streams go by their names alone."""
    return stream if node == own else key_of(node, stream)


def check(batches: Sequence[Batch], *, node: str) -> None:
    """Refuses batches that no honest child sends.

    Args:
        batches: What was sent.
        node: The name of the node that is to take them.

    Raises:
        InputError: A name that is none, this node's own or twice there; parts that leave a gap or overlap.
    """
    seen: set[tuple[str, str]] = set()
    for batch in batches:
        name = (batch.node, batch.stream)
        for word in name:
            if len(word) > _MAX_NAME or not _NAME.fullmatch(word):
                raise InputError(f"{word[:80]!r} is no name of a node or stream", name=word[:80])
        if batch.node == node:
            raise InputError(f"The records of {node!r} cannot be given to itself", name=node)
        if name in seen:
            raise InputError(f"Two batches of the same stream: {key_of(*name)}", name=key_of(*name))
        seen.add(name)
        _check_parts(batch)


def _check_parts(batch: Batch) -> None:
    found = parts(batch)
    if not 0 < len(found) <= MAX_PARTS:
        raise InputError(f"A batch has 1 to {MAX_PARTS} parts, not {len(found)}", limit=MAX_PARTS)
    last = found[0].first - 1
    for part in found:
        if not (last + 1 == part.first <= part.last <= MAX_SEQUENCE) or last < 0:
            raise InputError(
                f"A batch of {key_of(batch.node, batch.stream)} does not go on at {last + 1}", first=part.first
            )
        last = part.last


def parts(batch: Batch) -> list[Part]:
    """Its parts in order."""
    return sorted((*batch.packed, *batch.missing), key=_first)


def _first(part: Part) -> int:
    return part.first


def admit(batch: Batch, *, mark: int) -> list[Part]:
    """What of a batch is new.

    Args:
        batch: One that passed ``check``.
        mark: The newest sequence that was taken of its stream.

    Raises:
        ConflictError: It does not join on; the fact ``expected`` says what comes next.
    """
    fresh = [part for part in parts(batch) if part.last > mark]
    if not fresh:
        return []
    first = fresh[0]
    if isinstance(first, Missing) and first.first <= mark:
        fresh[0] = Missing(mark + 1, first.last, first.reason)
    elif first.first != mark + 1:  # also records of which some are known: their sender packs them anew
        raise not_next(batch.node, batch.stream, mark + 1)
    return fresh


def not_next(node: str, stream: str, expected: int) -> ConflictError:
    """A batch that does not join on to what was taken."""
    return ConflictError(
        f"The next record of {key_of(node, stream)} is {expected}",
        hint="Send from there.",
        node=node,
        stream=stream,
        expected=expected,
    )


def batch(node: str, stream: str, packed: Iterable[Packed], missing: Iterable[Missing]) -> Batch:
    """A batch of these parts, or as many of the first as one may have."""
    every: list[Part] = [*packed, *missing]
    found = sorted(every, key=_first)[:MAX_PARTS]
    return Batch(
        node,
        stream,
        tuple(part for part in found if isinstance(part, Packed)),
        tuple(part for part in found if isinstance(part, Missing)),
    )


def missing(packed: Sequence[Packed], *, after: int, through: int, told: Iterable[Missing]) -> list[Missing]:
    """Whatever lies between what is sent, with the reason where it was told.

    Args:
        packed: In order.
        after: What the receiver has.
        through: Where the batch is to end.
        told: The ledger's lines.
    """
    lines = sorted(told, key=lambda line: line.first)
    found: list[Missing] = []
    for part in (*packed, None):
        end = part.first - 1 if part else through
        if end > after:
            found += _reasons(after + 1, end, lines)
        after = part.last if part else through
    return found


def _reasons(first: int, last: int, lines: Sequence[Missing]) -> Iterator[Missing]:
    for line in lines:
        if line.last < first or line.first > last:
            continue
        if line.first > first:
            yield Missing(first, line.first - 1, Reason.GONE)
        begin, end = max(first, line.first), min(last, line.last)
        yield Missing(begin, end, line.reason)
        first = end + 1
    if first <= last:
        yield Missing(first, last, Reason.GONE)


def count_missing(told: Iterable[Missing], *, after: int, through: int) -> int:
    """How many sequences past ``after``, up to ``through``, the ledger's lines tell missing, each counted once."""
    count, reached = 0, after
    for line in sorted(told, key=_first_missing):
        begin, end = max(line.first, reached + 1), min(line.last, through)
        if begin <= end:
            count += end - begin + 1
            reached = end
    return count


def _first_missing(line: Missing) -> int:
    return line.first
