"""Times as sensors and files write them, as nanoseconds since the Unix epoch."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta

TimeFormat: TypeAlias = Annotated[str, Meta(pattern=r"^(auto|iso|s|ms|us|ns|.*%.*)$", max_length=64)]
"""``iso`` (ISO 8601), ``s``, ``ms``, ``us``, ``ns`` (a number of them since 1970), a pattern of ``strptime`` such as
``%d %m %Y %H:%M``, or ``auto``: a number counts in the unit that puts it between 2001 and 2286, text is ISO 8601.
"""

_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_NS = 2**63 - 1


class Nanoseconds(int):
    """A time that is nanoseconds since the Unix epoch already, whatever the format says."""


class Instants:
    """Reads times of one format.

    Args:
        form: See ``TimeFormat``.
        zone: IANA name, such as ``Europe/Berlin``, for times that carry no zone.

    Raises:
        ValueError: There is no such zone.
    """

    def __init__(self, form: str = "auto", zone: str = "UTC") -> None:
        self._form = form
        self._zone = zone_of(zone)

    def parse(self, value: object) -> int:
        """Nanoseconds since the Unix epoch.

        Args:
            value: A number, a text, or a ``datetime``.

        Raises:
            ValueError: It is no time of this format, or lies before 1970 or past 2262.
        """
        time_ns = self._parse(value)
        if not 0 <= time_ns <= _MAX_NS:
            raise ValueError(f"{value!r} lies before 1970 or past 2262")
        return time_ns

    def _parse(self, value: object) -> int:
        match value:
            case Nanoseconds():
                return int(value)
            case datetime():
                return self._of_datetime(value)
            case bool():
                raise ValueError("a truth value is no time")
            case int() | float():
                return self._of_number(value)
            case str():
                return self._of_text(value.strip())
        raise ValueError(f"a {type(value).__name__} is no time")

    def _of_text(self, text: str) -> int:
        if "%" in self._form:
            return self._of_datetime(datetime.strptime(text, self._form))  # noqa: DTZ007 - the zone follows
        if self._form in _UNITS:
            return self._of_number(_number(text))
        if self._form == "auto":
            try:
                return self._of_number(_number(text))
            except ValueError:
                pass
        return self._of_datetime(datetime.fromisoformat(text))

    def _of_number(self, number: float) -> int:
        if self._form not in {"auto", *_UNITS}:
            raise ValueError(f"{number} is a number, and times are written as {self._form}")
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{number} is no time")
        unit = _UNITS[_unit_of(number) if self._form == "auto" else self._form]
        return number * unit if isinstance(number, int) else round(number * unit)

    def _of_datetime(self, moment: datetime) -> int:
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone)
        return (aware - _EPOCH) // timedelta(microseconds=1) * 1000


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name.

    Raises:
        ValueError: There is none.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r} (they are written as Europe/Berlin)") from error


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _unit_of(number: float) -> str:
    size = abs(number)
    return next((unit for unit, end in (("s", 1e10), ("ms", 1e13), ("us", 1e16)) if size < end), "ns")
