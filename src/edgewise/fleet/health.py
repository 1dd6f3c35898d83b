"""How a node is, as its parent sees it: from its newest report and how old that is. Pure.

What a node cannot tell any more is told by its silence: *late* after it kept quiet for twice as long as it said, *gone*
after much longer. Silence goes before what it said last, since nobody knows whether that is still so.
"""

from __future__ import annotations

import enum
import math

import msgspec

from edgewise.link.reports import Report

LATE = 2.5
"""A node is late when its newest report is older than so many of its intervals."""

GONE = 8
"""And gone after so many."""

LOW_DISK_BYTES = 200_000_000
"""With less the journal soon takes no more records."""

HOT_C = 90.0
"""Most processors slow down from here on."""

CLOCK_S = 60.0
"""Times that nodes state for the same moment differ by more than this: rules over several nodes go wrong."""

_BAD_PHASES = {"retrying", "failed"}


class Status(enum.StrEnum):
    """The worst of what is known, the best first."""

    OK = "ok"
    LATE = "late"
    FAILING = "failing"
    GONE = "gone"


class Why(enum.StrEnum):
    """What is not as it should be."""

    NEVER_HEARD = "never_heard"
    SILENT = "silent"
    PARENT_GONE = "parent_gone"
    PIPELINE = "pipeline"
    DISK_LOW = "disk_low"
    HOT = "hot"
    CLOCK = "clock"


class Reason(msgspec.Struct, frozen=True):
    """One thing that is wrong: which, of what, and in words."""

    why: Why
    what: str = ""
    message: str = ""


class Health(msgspec.Struct, frozen=True):
    """How a node is, and why."""

    status: Status
    reasons: tuple[Reason, ...] = ()


def judge(report: Report | None, *, age_s: float, parent_gone: str = "") -> Health:
    """How a node is.

    Args:
        report: Its newest; None when there never was one.
        age_s: How long nothing was heard of it; infinite when it never was.
        parent_gone: The node on the way to it that is gone itself; empty when none is.
    """
    if report is None and math.isinf(age_s):
        return Health(Status.GONE, (Reason(Why.NEVER_HEARD, message="Nothing was ever heard of it."),))
    report = report or Report("unknown")  # of an earlier release, which sends records and no reports
    reasons = list(_faults(report))
    status = Status.FAILING if reasons else Status.OK
    if age_s > LATE * report.every_s:
        gone = age_s > GONE * report.every_s
        status = Status.GONE if gone else max(status, Status.LATE, key=_WORSE.index)
        if parent_gone:
            reasons.insert(0, Reason(Why.PARENT_GONE, parent_gone, f"Its reports come by way of {parent_gone}."))
        else:
            reasons.insert(0, Reason(Why.SILENT, message=f"Nothing was heard of it for {_words(age_s)}."))
    return Health(status, tuple(reasons))


_WORSE = list(Status)


def _faults(report: Report) -> list[Reason]:
    found = [
        Reason(Why.PIPELINE, pipeline.name, pipeline.problem or f"It is {pipeline.phase}.")
        for pipeline in report.pipelines
        if pipeline.phase in _BAD_PHASES
    ]
    free, heat, ahead_s = (
        report.resources.disk_free_bytes,
        report.resources.temperature_c,
        report.clock_ahead_s,
    )
    if free is not None and free < LOW_DISK_BYTES:
        found.append(Reason(Why.DISK_LOW, message=f"{free / 1e6:.0f} MB are free where its data is."))
    if heat is not None and heat >= HOT_C:
        found.append(Reason(Why.HOT, message=f"It is {heat:.0f} °C hot."))
    if abs(ahead_s) > CLOCK_S:
        word = "ahead" if ahead_s > 0 else "behind"
        found.append(Reason(Why.CLOCK, message=f"Its clock is {_words(abs(ahead_s))} {word}."))
    return found


def _words(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
