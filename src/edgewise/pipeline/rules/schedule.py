"""When a rule's time has come: clock times, sun times, cron lines; days of the week and parts of a day.

Times are those of the node's time zone. A clock time that a change of the clocks leaves out (02:30 in spring) comes
when it would have been by the old clock, one that comes twice (in autumn) comes once, the first time. A cron line
whose hour is ``*`` follows the hours that really pass.
"""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from edgewise._lib.documents import nearest
from edgewise.errors import RuleError
from edgewise.pipeline.rules.durations import DURATION, nanoseconds
from edgewise.pipeline.rules.settings import Location

if TYPE_CHECKING:
    from astral import Observer

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SUN = ("dawn", "sunrise", "noon", "sunset", "dusk")

_UTC = datetime.UTC
_MINUTE_NS = 60 * 10**9
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=_UTC)
# The sun's middle is this far below the horizon when its upper edge is seen to rise or set.
_SUNRISE_DEGREES = -0.833
# February 29th comes again within four years, but for 2100.
_SEARCHED_DAYS = 4 * 366 + 2
_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"
_SUN = rf"(?P<sun>[a-z]+)(?:\s*(?P<sign>[+-])\s*(?P<offset>{DURATION}))?"
_BOUND = rf"(?:\d{{1,2}}:\d{{2}}(?::\d{{2}})?|[a-z]+(?:\s*[+-]\s*{DURATION})?)"
_CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))


class Place:
    """Where and by which clock a node lives.

    Args:
        location: From the settings.

    Raises:
        RuleError: There is no such time zone.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        try:
            self.zone = zoneinfo.ZoneInfo(location.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise RuleError(
                f"There is no time zone {location.timezone!r}",
                hint=nearest(location.timezone, sorted(zoneinfo.available_timezones())),
                rule="",
                field="timezone",
            ) from error
        self._sun = functools.lru_cache(maxsize=16)(self._sun_of)
        self._up = functools.lru_cache(maxsize=16)(self._is_up)

    @property
    def knows_the_sun(self) -> bool:
        """Whether sun times can be told."""
        return self.location.latitude is not None and self.location.longitude is not None

    def local(self, time_ns: int) -> datetime.datetime:
        """A time by the local clock."""
        return moment(time_ns).astimezone(self.zone)

    def sun_times(self, day: datetime.date) -> dict[str, datetime.datetime | None]:
        """Dawn, sunrise, noon, sunset and dusk of a day; None for what does not happen (polar day and night)."""
        return self._sun(day)

    def sun_is_up(self, time_ns: int) -> bool:
        """Whether any of it can be seen over a flat horizon; told anew each minute."""
        return self._up(time_ns // _MINUTE_NS)

    def _is_up(self, minute: int) -> bool:
        from astral.sun import elevation

        at = moment(minute * _MINUTE_NS)
        return bool(elevation(self._observer(), at, with_refraction=False) > _SUNRISE_DEGREES)

    def _observer(self) -> Observer:
        from astral import Observer

        return Observer(self.location.latitude or 0.0, self.location.longitude or 0.0)

    def _sun_of(self, day: datetime.date) -> dict[str, datetime.datetime | None]:
        from astral import sun

        times: dict[str, datetime.datetime | None] = {}
        for name in SUN:
            try:
                times[name] = getattr(sun, name)(self._observer(), date=day, tzinfo=self.zone).astimezone(_UTC)
            except ValueError:  # it does not reach that height on this day
                times[name] = None
        return times


class At(Protocol):
    """One way to say when."""

    def instants(self, day: datetime.date, place: Place) -> Sequence[int]:
        """Its times on a local day, nanoseconds since the Unix epoch, in order."""
        ...


class _ClockTime:
    def __init__(self, hour: int, minute: int, second: int) -> None:
        self._time = datetime.time(hour, minute, second)

    def instants(self, day: datetime.date, place: Place) -> Sequence[int]:
        return (_to_ns(datetime.datetime.combine(day, self._time, tzinfo=place.zone)),)


class _SunTime:
    def __init__(self, name: str, offset_ns: int) -> None:
        self._name = name
        self._offset_ns = offset_ns

    def instants(self, day: datetime.date, place: Place) -> Sequence[int]:
        at = place.sun_times(day)[self._name]
        return () if at is None else (_to_ns(at) + self._offset_ns,)


class _Cron:
    """A cron line: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday).

    As in cron, when both days are restricted either is enough.
    """

    def __init__(self, line: str) -> None:
        words = line.split()
        self._minutes, self._hours, self._days, self._months, weekdays = (
            _cron_field(word, *field) for word, field in zip(words, _CRON_FIELDS, strict=True)
        )
        self._weekdays = {number % 7 for number in weekdays}
        self._every_hour = words[1].startswith("*")
        self._any_day, self._any_weekday = words[2] == "*", words[4] == "*"

    def instants(self, day: datetime.date, place: Place) -> Sequence[int]:
        if day.month not in self._months or not self._on(day):
            return ()
        found = set()
        for hour in self._hours:
            for minute in self._minutes:
                at = datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=place.zone)
                found.add(_to_ns(at))
                if self._every_hour:
                    found.add(_to_ns(at.replace(fold=1)))
        return sorted(found)

    def _on(self, day: datetime.date) -> bool:
        in_month, in_week = day.day in self._days, day.isoweekday() % 7 in self._weekdays
        if self._any_day or self._any_weekday:
            return in_month and in_week
        return in_month or in_week


class Schedule:
    """The times of one rule.

    Args:
        at: As in the settings.
        every_s: As in the settings.
        days: As in the settings, parsed.
    """

    def __init__(self, at: Iterable[At], *, every_s: float, days: frozenset[int]) -> None:
        self._at = tuple(at)
        self.every_ns = int(every_s * 1e9)
        self._days = days
        self._instants = functools.lru_cache(maxsize=8)(self._instants_of)

    def next(self, after_ns: int, place: Place) -> int | None:
        """The first time after another; None when there is none in four years."""
        if self.every_ns:
            return (after_ns // self.every_ns + 1) * self.every_ns
        today = place.local(after_ns).date()
        best: int | None = None
        for ahead in range(-1, _SEARCHED_DAYS):  # sunset + 8h belongs to the day before
            found = next((at for at in self._instants(today + datetime.timedelta(ahead), place) if at > after_ns), None)
            if best is not None:
                return best if found is None else min(best, found)
            best = found
        return best

    def latest(self, after_ns: int, through_ns: int, place: Place) -> int | None:
        """The last time in ``(after, through]``; None when there is none. Of many that were missed, one counts."""
        if self.every_ns:
            last = through_ns // self.every_ns * self.every_ns
            return last if last > after_ns else None
        today = place.local(through_ns).date()
        best: int | None = None
        for back in range(1, -_SEARCHED_DAYS, -1):
            day = today + datetime.timedelta(back)
            found = [at for at in self._instants(day, place) if after_ns < at <= through_ns]
            if best is not None:
                return max([best, *found])
            best = max(found, default=None)
            if _to_ns(datetime.datetime(day.year, day.month, day.day, tzinfo=_UTC)) < after_ns - 3 * 86400 * 10**9:
                return best
        return best

    def _instants_of(self, day: datetime.date, place: Place) -> list[int]:
        if day.weekday() not in self._days:
            return []
        return sorted({instant for at in self._at for instant in at.instants(day, place)})


class Between:
    """A part of each day, over midnight too; by the clock on the wall.

    Args:
        start: Where it begins.
        end: Where it ends; not in it any more.
        days: Days on which it begins.
    """

    def __init__(self, start: At | None, end: At | None, *, days: frozenset[int]) -> None:
        self._start, self._end = start, end
        self._days = days

    def holds(self, time_ns: int, place: Place) -> bool:
        """Whether a time lies in it. False when an end is a sun time that does not happen that day."""
        local = place.local(time_ns)
        day = local.date()
        if self._start is None or self._end is None:
            return day.weekday() in self._days
        start, end = self._wall(self._start, day, place), self._wall(self._end, day, place)
        if start is None or end is None:
            return False
        time = local.time()
        if start <= end:
            return start <= time < end and day.weekday() in self._days
        if time >= start:
            return day.weekday() in self._days
        return time < end and (day - datetime.timedelta(1)).weekday() in self._days

    def _wall(self, at: At, day: datetime.date, place: Place) -> datetime.time | None:
        if isinstance(at, _ClockTime):
            return at._time
        instants = at.instants(day, place)
        return place.local(instants[0]).time() if instants else None


def parse_at(text: str) -> At:
    """``22:00``, ``sunset - 30m`` or a cron line.

    Raises:
        ValueError: It is none of them; the message says what was expected.
    """
    text = text.strip()
    if len(text.split()) == 5 and not re.fullmatch(_SUN, text):
        return _Cron(text)
    return _parse_bound(text)


def parse_between(text: str, days: frozenset[int]) -> Between:
    """``22:00-06:00`` or ``sunset - 30m - sunrise``; empty is the whole day.

    Raises:
        ValueError: It is something else.
    """
    if not text.strip():
        return Between(None, None, days=days)
    found = re.fullmatch(rf"\s*({_BOUND})\s*-\s*({_BOUND})\s*", text)
    if not found:
        raise ValueError(f"{text!r} is no part of a day; write 22:00-06:00 or sunset - sunrise")
    return Between(_parse_bound(found[1]), _parse_bound(found[2]), days=days)


def parse_days(text: str) -> frozenset[int]:
    """``mon-fri,sun`` as numbers from 0 for Monday; empty is every day.

    Raises:
        ValueError: It names no days.
    """
    if not text.strip():
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = (word.strip() for word in part.partition("-"))
        for word in (first, last or first):
            if word not in DAYS:
                raise ValueError(f"{word!r} is no day; days are {', '.join(DAYS)}")
        start, end = DAYS.index(first), DAYS.index(last or first)
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return frozenset(days)


def moment(time_ns: int) -> datetime.datetime:
    """A time as a timestamp in UTC, exact to the microsecond."""
    return _EPOCH + datetime.timedelta(microseconds=time_ns // 1000)


def needs_sun(*texts: str) -> bool:
    """Whether a time was written with a sun time."""
    return any(re.search(rf"\b(?:{'|'.join(SUN)})\b", text) for text in texts)


def _parse_bound(text: str) -> At:
    if found := re.fullmatch(_CLOCK, text):
        try:
            return _ClockTime(int(found["hour"]), int(found["minute"]), int(found["second"] or 0))
        except ValueError:
            raise ValueError(f"{text!r} is no time of day") from None
    if found := re.fullmatch(_SUN, text):
        if found["sun"] not in SUN:
            raise ValueError(f"{found['sun']!r} is no time of the sun; there are {', '.join(SUN)}")
        offset_ns = nanoseconds(found["offset"] or "0s") or 0
        if offset_ns > 43200 * 10**9:
            raise ValueError(f"{text!r} lies more than 12 hours from the sun's time")
        return _SunTime(found["sun"], -offset_ns if found["sign"] == "-" else offset_ns)
    raise ValueError(f"{text!r} is no time; write 22:00, sunset - 30m, or a cron line of five fields")


def _cron_field(word: str, name: str, low: int, high: int) -> frozenset[int]:
    numbers: set[int] = set()
    for part in word.split(","):
        found = re.fullmatch(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?", part)
        if not found:
            raise ValueError(f"{part!r} is no {name} of a cron line")
        first = int(found[1]) if found[1] else low
        last = int(found[2]) if found[2] else (first if found[1] and not found[3] else high)
        step = int(found[3] or 1)
        if not (low <= first <= last <= high and step):
            raise ValueError(f"{part!r} is no {name} of a cron line: {low} to {high}")
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _to_ns(at: datetime.datetime) -> int:
    since = at.astimezone(_UTC) - _EPOCH
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000
