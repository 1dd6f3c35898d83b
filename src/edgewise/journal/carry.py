"""Carrying over a journal of the first format, whose blocks were rows of the database.

It happens when the journal is opened, once: batches of rows become frames of the log, and each batch leaves the table
in the same group that writes it, so that a crash in between loses and doubles nothing and the next opening goes on.
Holes that the first format left are noted before, since it accounted for them. In the end the table is dropped; an
earlier release refuses the journal then, instead of appending to one that it can no longer read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from edgewise.journal import blocks
from edgewise.journal.blocks import Block
from edgewise.journal.codec import Codec
from edgewise.journal.database import SQL, Database
from edgewise.journal.store import BlockStore

_log = logging.getLogger(__name__)

_BATCH_BYTES = 4 << 20
_codec = Codec()


def needed(database: Database) -> bool:
    """Whether blocks of the first format are left."""
    return database.one("select_old_table") is not None


def prepare(database: Database, store: BlockStore) -> None:
    """Notes where each stream begins and which sequences it lacks. An action, done before anything is moved."""
    for stream, _, _, last, delivered, _ in database.all("select_every_stream"):
        heads = database.all("select_old_heads", *_bounds(stream))
        ends = [blocks.sequence(position) - 1 for position, _ in heads[1:]]
        if heads:
            ends.append(_end(database, stream, last))
        floor = end = blocks.sequence(heads[0][0]) - 1 if heads else last
        for (position, claimed), bound in zip(heads, ends, strict=True):
            first = blocks.sequence(position)
            if first > end + 1:
                store.add_hole(stream, end + 1, first - 1)
            end = _trusted(first, claimed, bound)
        last = max(last, end)
        if last > end:
            store.add_hole(stream, end + 1, last)
        database.change("update_stream", last, delivered, floor, stream)


def move(database: Database, store: BlockStore, *, strike: Callable[[int, int, int], None]) -> bool:
    """Moves one batch into the log; False when there is none left. An action.

    Args:
        database: The journal's.
        store: Takes the blocks.
        strike: Accounts for a damaged block: its stream, first and last sequence.
    """
    batch = list(_batch(database))
    for block in batch:
        if block.intact:
            store.stage(block, _codec.digests(block) if block.blobs else ())
            continue
        stream = block.position >> blocks.SEQUENCE_BITS
        after = database.one("select_old_heads", block.position + 1, _bounds(stream)[1])
        saved = next(row[3] for row in database.all("select_every_stream") if row[0] == stream)
        bound = blocks.sequence(after[0]) - 1 if after else max(saved, block.first)
        strike(stream, block.first, _trusted(block.first, block.last, bound))
    if batch:
        database.change("delete_old_blocks", batch[-1].position)
    return bool(batch)


def finish(database: Database) -> None:
    """Drops the table."""
    database.change("drop_old_blocks")
    database.commit()
    _log.info("the journal in %s is one of segment files now", database.path.parent)


def _bounds(stream: int) -> tuple[int, int]:
    return blocks.position(stream, 0), blocks.position(stream, blocks.MAX_SEQUENCE)


def _end(database: Database, stream: int, saved: int) -> int:
    """What the last block of a stream may claim to end at: its own word when it is intact."""
    block = Block._make(database.one("select_newest_old_block", *_bounds(stream)))
    return block.last if block.intact else max(saved, block.first)


def _trusted(first: int, claimed: int, bound: int) -> int:
    """The end of a block whose own word may be what is damaged."""
    return claimed if first <= claimed <= bound else bound


def _batch(database: Database) -> Iterator[Block]:
    size = 0
    for row in database.connection.execute(SQL["select_old_blocks"]):
        block = Block._make(row)
        yield block
        size += block.size
        if size >= _BATCH_BYTES:
            return
