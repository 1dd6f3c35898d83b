"""Which table a record lands in, and the rows it becomes. Pure.

Every stream has a *home*: readings and events have tables of their own, all else is in ``records``. A record that does
not fit its home goes to ``records`` as well, so nothing is left out.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edgewise.errors import InputError, TooLargeError
from edgewise.lake.base import StreamKey
from edgewise.types import Record

MAX_RECORDS = 100_000

# Column -> type, as Delta names it. ``landed`` is the day a row came in, and what the files are parted by.
_COMMON = {"time": "timestamp", "sequence": "long"}
TABLES: dict[str, dict[str, str]] = {
    "records": {"node": "string", "stream": "string", **_COMMON, "kind": "string", "body": "string", "blobs": "list"},
    "events": {"node": "string", "source": "string", **_COMMON, "kind": "string", "body": "string", "blobs": "list"},
    "readings": {
        "node": "string",
        "source": "string",
        "channel": "string",
        **_COMMON,
        "value": "double",
        "text": "string",
    },
}
PARTITION = "landed"
# Whose least and greatest values stand in the log, so that readers skip files; bodies would only make it long.
INDEXED = ("node", "stream", "source", "channel", "time", "sequence", "kind", "value")

_EXACT = 2**53
_EARLIEST_NS, _LATEST_NS = -(2**63), 2**63 - 1


def home(stream: str) -> str:
    """The table whose mark is the stream's: it is written last."""
    return stream if stream in {"events", "readings"} else "records"


def by_stream(records: Sequence[Record]) -> dict[StreamKey, list[Record]]:
    """Sorts records by their streams.

    Raises:
        InputError: Sequences of a stream do not rise.
        TooLargeError: There are too many records.
    """
    if len(records) > MAX_RECORDS:
        raise TooLargeError(
            f"{len(records)} records at once are more than {MAX_RECORDS}",
            hint="Hand them over in parts.",
            limit=MAX_RECORDS,
            actual=len(records),
        )
    streams: dict[StreamKey, list[Record]] = {}
    for record in records:
        before = streams.setdefault((record.node, record.stream), [])
        if record.sequence <= (before[-1].sequence if before else 0):
            raise InputError(
                f"Record {record.sequence} of {record.node}/{record.stream} is out of order",
                hint="Sequences start at 1 and rise.",
                node=record.node,
                stream=record.stream,
                sequence=record.sequence,
            )
        before.append(record)
    return streams


def route(record: Record) -> str:
    """The table a record lands in."""
    table = home(record.stream)
    return table if table != "readings" or _is_reading(record) else "records"


def columns(table: str, records: Iterable[Record], *, landed: datetime.date) -> dict[str, list[Any]]:
    """The rows of records that land in a table, as its columns; times are microseconds since the Unix epoch."""
    rows = _reading_rows(records) if table == "readings" else (_row(record) for record in records)
    found: dict[str, list[Any]] = {name: [] for name in TABLES[table]}
    for row in rows:
        for name, cells in found.items():
            cells.append(row[name])
    found[PARTITION] = [landed] * len(found["node"])
    return found


def _reading_rows(records: Iterable[Record]) -> Iterable[Mapping[str, Any]]:
    for record in records:
        for channel, given in record.body["values"].items():
            value, text = _split(given)
            yield {
                "node": record.node,
                "source": record.body["source"],
                "channel": channel,
                "time": _micros(record.time_ns),
                "sequence": record.sequence,
                "value": value,
                "text": text,
            }


def _row(record: Record) -> Mapping[str, Any]:
    source = record.body.get("source")
    return {
        "node": record.node,
        "stream": record.stream,
        "source": source if isinstance(source, str) else None,
        "time": _micros(record.time_ns),
        "sequence": record.sequence,
        "kind": record.kind,
        "body": msgspec.json.encode(record.body).decode(),
        "blobs": list(record.blobs),
    }


def _split(given: float | bool | str | None) -> tuple[float | None, str | None]:
    """A value as number and text: a truth value is both, and so is a whole number that no float holds."""
    match given:
        case None:
            return None, None
        case bool():
            return float(given), "true" if given else "false"
        case str():
            return None, given
        case int() if abs(given) > _EXACT:
            return _float(given), str(given)
        case _:
            return float(given), None


def _float(number: int) -> float | None:
    try:
        return float(number)
    except OverflowError:
        return None


def _is_reading(record: Record) -> bool:
    """Whether the readings table holds all that the record says."""
    body, values = record.body, record.body.get("values")
    return (
        record.kind == "reading"
        and body.keys() == {"source", "values"}
        and not record.blobs
        and isinstance(body["source"], str)
        and isinstance(values, dict)
        and bool(values)
        and all(value is None or isinstance(value, bool | int | float | str) for value in values.values())
    )


def _micros(time_ns: int) -> int:
    return min(max(time_ns, _EARLIEST_NS), _LATEST_NS) // 1000
