"""What a rule is made of, as it stands in the settings. docs/rules.md is the whole language on one page."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:[-_][a-z0-9]+)*$", max_length=64)]
KindPattern = Annotated[str, Meta(pattern=r"^(?:[a-z0-9_]+\.)*(?:[a-z0-9_]+|\*)$", max_length=128)]
SourcePattern: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z0-9_*?-]*$", max_length=64)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=86400)]

READING = "reading"
TIME = "time"


class Do(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One command of a rule.

    Attributes:
        device: Which device.
        command: Which of its commands.
        arguments: Its arguments; a string that starts with ``=`` is a CEL expression (``==`` writes a plain ``=``).
        expires_s: Seconds after the event when the command is too late and never acts.
    """

    device: str
    command: str
    arguments: dict[str, Any] = {}
    expires_s: Annotated[float, Meta(gt=0, le=300)] = 5.0


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens before or after what a rule listens to.

    Attributes:
        on: Kind of event, or ``reading``.
        source: Only of this source; ``*`` stands for any part of a name.
        channel: Only readings that hold this channel.
        when: CEL expression that must be true of it.
    """

    on: KindPattern
    source: SourcePattern = ""
    channel: Annotated[str, Meta(max_length=128)] = ""
    when: str = ""


class RuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule.

    Attributes:
        name: Unique.
        on: Kind of event it listens to, such as ``face.known``; ``*`` as the last word stands for any rest.
            ``reading`` listens to readings of sensors, ``time`` to the clock alone.
        source: Only what this source gives; ``*`` stands for any part of a name.
        channel: Only readings that hold this channel.
        when: CEL expression that must be true; empty is true.
        at: For ``on: time``: ``22:00``, ``sunset - 30m`` or a cron line of five fields; one or several.
        every_s: For ``on: time``: seconds from one time to the next.
        between: Only in this part of a day, such as ``22:00-06:00`` or ``sunset - sunrise``.
        days: Only on these days, such as ``mon-fri`` or ``sat,sun``.
        after: What must have happened before, in this order.
        within_s: All of ``after`` no longer ago than this.
        unless: What takes the firing back while ``for_s`` runs.
        same: What ``after`` and ``unless`` must have in common with the event: ``source``, ``person``, or a field of
            its body.
        for_s: The condition must hold this long; it fires once for each time that it does.
        cooldown_s: It does not fire again so soon for the same source and person, also after a restart.
        do: What it commands, in order.
    """

    name: Name
    on: KindPattern
    do: Annotated[tuple[Do, ...], Meta(min_length=1, max_length=32)]
    source: SourcePattern = ""
    channel: Annotated[str, Meta(max_length=128)] = ""
    when: str = ""
    at: str | Annotated[tuple[str, ...], Meta(min_length=1, max_length=32)] = ""
    every_s: Seconds = 0.0
    between: str = ""
    days: str = ""
    after: Annotated[tuple[Step, ...], Meta(max_length=8)] = ()
    within_s: Seconds = 0.0
    unless: Annotated[tuple[Step, ...], Meta(max_length=8)] = ()
    same: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=4)] = ()
    for_s: Seconds = 0.0
    cooldown_s: Seconds = 0.0


class Location(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a node stands, for the times of rules.

    Attributes:
        latitude: Degrees, north is positive; needed for sun times.
        longitude: Degrees, east is positive; needed for sun times.
        timezone: IANA name, such as ``Europe/Berlin``: whose clock ``at``, ``between`` and ``days`` mean.
    """

    latitude: Annotated[float, Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Meta(ge=-180, le=180)] | None = None
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
