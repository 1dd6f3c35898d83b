"""Series in text files: CSV with a header, one time and one value per channel a row."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from edgewise._lib.columns import Block, Value
from edgewise.errors import DecodeError, NotFoundError

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_TRUTH: dict[str, Value] = {"true": True, "false": False}
_MISSING = frozenset({"", "nan", "null", "none", "na"})


def read_csv(path: Path, *, time: str = "time") -> Block:
    """Reads a CSV file.

    Args:
        path: The file, UTF-8, with a header.
        time: Name of the column that holds times: ISO 8601 (UTC where it names no zone) or seconds since the epoch.

    Raises:
        NotFoundError: There is no such file or column.
        DecodeError: A row is not as long as the header, or holds no time.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read(csv.reader(file), path, time)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}", hint="Check the path.", kind="file", name=str(path)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DecodeError(f"{path} is no CSV file: {error}", hint="It must be UTF-8 text with a header.") from error


def _read(rows: Iterable[list[str]], path: Path, time: str) -> Block:
    reader = iter(rows)
    header = next(reader, [])
    if time not in header:
        hint = f"Name it; there are: {', '.join(header)}."
        raise NotFoundError(f"{path} has no column {time!r}", hint=hint, kind="column", name=time)
    place = header.index(time)
    times: list[int] = []
    columns: dict[str, list[Value]] = {name: [] for index, name in enumerate(header) if index != place}
    for line, row in enumerate(reader, 2):
        if len(row) != len(header):
            raise DecodeError(f"{path}, line {line}: {len(row)} values for {len(header)} columns")
        times.append(_time(row.pop(place), path, line))
        for values, text in zip(columns.values(), row, strict=True):
            values.append(parse(text))
    return Block(times, columns)


def parse(text: str) -> Value:
    """A value as it is written: a number, ``true``, ``false``, nothing (missing), or a text."""
    lowered = text.strip().lower()
    if lowered in _MISSING:
        return None
    if lowered in _TRUTH:
        return _TRUTH[lowered]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _time(text: str, path: Path, line: int) -> int:
    try:
        return round(float(text) * 1e9)
    except ValueError:
        pass
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        hint = "ISO 8601 (2026-01-31T12:00:00Z) or seconds since 1970."
        raise DecodeError(f"{path}, line {line}: {text!r} is no time", hint=hint) from error
    passed = (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)) - _EPOCH
    return (passed.days * 86400 + passed.seconds) * 10**9 + passed.microseconds * 1000


def write_csv(file: IO[str], block: Block) -> None:
    """Writes a series; times to the microsecond, numbers with all their digits."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("time", *block.columns))
    for row, time_ns in enumerate(block.times_ns):
        time = (_EPOCH + datetime.timedelta(microseconds=time_ns // 1000)).isoformat().replace("+00:00", "Z")
        writer.writerow((time, *(_text(values[row]) for values in block.columns.values())))


def _text(value: Value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
