"""The audit and the ledger, counted anew from what is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from edgewise.journal.base import Balance, Loss, Reason
from edgewise.journal.blocks import MAX_SEQUENCE
from edgewise.journal.database import SQL
from edgewise.journal.index import StreamIndex


def balances(connection: sqlite3.Connection, index: Callable[[int], StreamIndex]) -> list[Balance]:
    """See ``base.Journal.audit``; every node and stream in the database, consumer by consumer."""
    rows = connection.execute(SQL["select_every_stream"]).fetchall()
    return [
        balance
        for number, node, name, last, delivered, _ in rows
        for balance in _of_stream(connection, index(number), (node, name), last=last, delivered=delivered)
    ]


def read_losses(connection: sqlite3.Connection, stream: str) -> list[Loss]:
    """See ``base.LossLedger``."""
    rows = connection.execute(SQL["select_losses"], {"stream": stream}).fetchall()
    return [
        Loss(node, name, consumer, first, last, count, Reason(reason), time_ns)
        for node, name, consumer, first, last, count, reason, time_ns in rows
    ]


def _of_stream(
    connection: sqlite3.Connection, index: StreamIndex, name: tuple[str, str], *, last: int, delivered: int
) -> Iterator[Balance]:
    produced = max(last, index.newest)

    def dropped(consumer: str, start: int) -> int:
        return int(connection.execute(SQL["sum_losses"], (index.number, consumer, start)).fetchone()[0])

    def pending(acked: int) -> int:
        return index.count(after=acked, through=MAX_SEQUENCE)

    yield Balance(*name, "", produced, delivered, pending(0), dropped("", 0))
    for consumer, start, missed, acked, acknowledged, *_ in connection.execute(
        SQL["select_consumers"], (index.number,)
    ).fetchall():
        counts = (produced - start - missed, acknowledged, pending(acked), dropped(consumer, start))
        yield Balance(*name, consumer, *counts)
