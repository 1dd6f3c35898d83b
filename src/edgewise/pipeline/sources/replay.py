"""Recorded readings, from a CSV or Parquet file, at any speed."""

from __future__ import annotations

import csv
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from edgewise._lib.clock import Clock
from edgewise._lib.documents import nearest
from edgewise.errors import DecodeError, EdgewiseError, MissingExtraError, NotFoundError
from edgewise.pipeline.base import Gives, Reading, Value
from edgewise.pipeline.instants import Instants, Nanoseconds, TimeFormat
from edgewise.pipeline.intake import MAX_CHANNELS, Channel, clean
from edgewise.series.table import parse

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Generator[Row, None, None]

# Rows of a Parquet file that are decoded at once.
_BATCH_ROWS = 1024
_PARQUET = frozenset({".parquet", ".pq"})


class ReplaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="replay"):
    """A file of recorded readings: CSV with a header, or Parquet (ending ``.parquet`` or ``.pq``).

    Attributes:
        path: The file.
        time: Column that holds the times; empty when none does: rows are then ``interval_s`` apart, the first now.
        time_format: See ``docs/sources.md``.
        zone: IANA name of the time zone of times that carry none.
        columns: Those that are wanted, in place of all; the same channels in each reading.
        delimiter: Between the cells of a CSV file.
        speed: 1 is as recorded, 60 an hour a minute, ``max`` as fast as they are taken.
        interval_s: Between rows when there are no times.
        stamped: ``recorded`` readings carry the times of the file, ``now`` those at which they are given.
        loop: Starts again after the last row (``stamped: now``).
    """

    path: Annotated[str, Meta(min_length=1)]
    time: Annotated[str, Meta(max_length=128)] = "time"
    time_format: TimeFormat = "auto"
    zone: str = "UTC"
    columns: Annotated[tuple[Channel, ...], Meta(max_length=MAX_CHANNELS)] = ()
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    speed: Annotated[float, Meta(ge=0.001, le=1e9)] | Literal["max"] = 1.0
    interval_s: Annotated[float, Meta(ge=0.001, le=86400)] = 1.0
    stamped: Literal["recorded", "now"] = "recorded"
    loop: bool = False

    def __post_init__(self) -> None:
        Instants(self.time_format, self.zone)
        if self.loop and self.stamped == "recorded":
            raise ValueError("loop needs stamped: now, since recorded times would go back")


class ReplaySource:
    """Plays a file of readings. Keeps the ``Source`` seam, and waits for those who are slow.

    Rows whose time cannot be read, or that are not as long as the header, are left out and counted. A file is read bit
    by bit: a CSV file by its rows, a Parquet file by its row groups.
    """

    gives = Gives.READING
    Settings = ReplaySettings

    def __init__(self, name: str, settings: ReplaySettings, *, clock: Clock) -> None:
        self.name = name
        self.live = False
        self.dropped = 0
        self.unreadable = 0
        self._settings = settings
        self._path = Path(settings.path)
        self._clock = clock
        self._instants = Instants(settings.time_format, settings.zone)
        self._number = 0
        self._closed = threading.Event()

    def read(self) -> Iterator[Reading]:
        """Yields the rows; see ``Source``."""
        while not self._closed.is_set():
            before = self._number
            yield from self._play()
            if self._number == before and not self._closed.is_set():
                raise DecodeError(
                    f"{self._path} holds no readings",
                    hint="Check the columns, and time_format against the times in it.",
                    file=str(self._path),
                )
            if not self._settings.loop:
                return

    def close(self) -> None:
        """Ends ``read``."""
        self._closed.set()

    def _play(self) -> Iterator[Reading]:
        pace = _Pace(self._settings.speed, self._clock, self._closed)
        first_ns = self._clock.time_ns()
        step_ns = round(self._settings.interval_s * 1e9)
        with closing(self._rows()) as rows:
            for place, row in enumerate(rows):
                time_ns = first_ns + place * step_ns if not self._settings.time else self._time_of(row)
                if time_ns is None:
                    continue
                if not pace.wait(time_ns):
                    return
                self._number += 1
                at = time_ns if self._settings.stamped == "recorded" else self._clock.time_ns()
                yield Reading(self.name, self._number, at, self._values(row))

    def _time_of(self, row: Row) -> int | None:
        try:
            return self._instants.parse(row[self._settings.time])
        except (ValueError, OverflowError):
            self.unreadable += 1
            return None

    def _values(self, row: Row) -> dict[str, Value]:
        return {name: _value(cell) for name, cell in row.items() if name != self._settings.time}

    def _rows(self) -> Rows:
        if not self._path.is_file():
            raise NotFoundError(
                f"There is no file {self._path}", hint="Check the source's path.", kind="file", name=str(self._path)
            )
        return self._parquet() if self._path.suffix.lower() in _PARQUET else self._csv()

    def _csv(self) -> Rows:
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self._settings.delimiter)
                header = next(reader, [])
                wanted = self._wanted(header)
                places = [(header.index(name), name) for name in wanted]
                for cells in reader:
                    if len(cells) == len(header):
                        yield {name: cells[place] for place, name in places}
                    else:
                        self.unreadable += bool(cells)
        except (UnicodeDecodeError, csv.Error) as error:
            raise self._undecodable("CSV", error) from error

    def _parquet(self) -> Rows:
        try:
            import pyarrow as arrow  # type: ignore[import-untyped]
            import pyarrow.parquet as parquet  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtraError(
                "Parquet files need pyarrow", hint="pip install 'edgewise[sensors]'", extra="sensors"
            ) from error
        try:
            with parquet.ParquetFile(self._path, pre_buffer=False) as file:  # else it is held whole
                wanted = self._wanted(file.schema_arrow.names)
                for batch in file.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False):
                    columns = [
                        _cells(batch.column(name), zone=self._settings.zone, is_time=name == self._settings.time)
                        for name in wanted
                    ]
                    for cells in zip(*columns, strict=True):
                        yield dict(zip(wanted, cells, strict=True))
        except (arrow.ArrowException, OSError) as error:
            raise self._undecodable("Parquet", error) from error

    def _wanted(self, present: Sequence[str]) -> list[str]:
        """The columns to read, in the order of the settings; the time is among them."""
        time = [self._settings.time] if self._settings.time else []
        wanted = [*time, *(self._settings.columns or (name for name in present if name and name not in time))]
        for name in wanted:
            if name not in present:
                raise NotFoundError(
                    f"{self._path} has no column {name!r}", hint=nearest(name, list(present)), kind="column", name=name
                )
        if len(wanted) == len(time) or len(wanted) > MAX_CHANNELS:
            raise DecodeError(
                f"{self._path} has {len(wanted) - len(time)} columns of values, not 1 to {MAX_CHANNELS}",
                hint="Name those that are wanted in columns.",
                file=str(self._path),
            )
        return wanted

    def _undecodable(self, what: str, error: Exception) -> EdgewiseError:
        return DecodeError(
            f"{self._path} is no {what} file that can be read: {error}",
            hint="CSV is UTF-8 text with a header and this delimiter; Parquet files end with .parquet.",
            file=str(self._path),
        )


class _Pace:
    """Waits between rows as long as lies between their times, divided by the speed."""

    def __init__(self, speed: float | Literal["max"], clock: Clock, closed: threading.Event) -> None:
        self._speed = speed
        self._clock = clock
        self._closed = closed
        self._first_ns: int | None = None
        self._started = 0.0

    def wait(self, time_ns: int) -> bool:
        """Returns when it is time for a row of that time; False when it was closed first."""
        if self._speed == "max":
            return not self._closed.is_set()
        if self._first_ns is None:
            self._first_ns, self._started = time_ns, self._clock.monotonic()
        due = self._started + (time_ns - self._first_ns) / 1e9 / self._speed
        while (early_s := due - self._clock.monotonic()) > 0:
            if self._closed.wait(min(early_s, threading.TIMEOUT_MAX)):
                return False
        return not self._closed.is_set()


def _cells(column: Any, *, zone: str, is_time: bool) -> list[Any]:
    """A column of Arrow as Python values. Times are nanoseconds in the column of times, and text in others."""
    import pyarrow as arrow
    from pyarrow import compute

    if arrow.types.is_decimal(column.type):
        column = column.cast(arrow.float64())
    if not (arrow.types.is_timestamp(column.type) or arrow.types.is_date(column.type)):
        return list(column.to_pylist())
    if not is_time:
        return list(column.cast(arrow.string()).to_pylist())
    if not getattr(column.type, "tz", None):
        column = compute.assume_timezone(column.cast(arrow.timestamp("us")), zone)
    counts = column.cast(arrow.timestamp("ns", "UTC")).cast(arrow.int64()).to_pylist()
    return [None if count is None else Nanoseconds(count) for count in counts]


def _value(cell: object) -> Value:
    if isinstance(cell, str):
        return clean(parse(cell))
    try:
        return clean(cell)
    except ValueError:
        return clean(str(cell))
