"""Rules: which events lead to which actions. Expressions are CEL, the Common Expression Language."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]+(?:[-_][a-z0-9]+)*$", max_length=64)]


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


class RuleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule.

    Attributes:
        name: Unique.
        on: Kind of event it listens to, such as ``face.known``; ``*`` stands for any rest (``face.*``).
        when: CEL expression over ``event``, ``person``, ``devices`` and ``now`` that must be true; empty is true.
        cooldown_s: It does not fire again so soon for the same source and person.
        do: What it commands, in order.
    """

    name: Name
    on: str
    do: Annotated[tuple[Do, ...], Meta(min_length=1, max_length=32)]
    when: str = ""
    cooldown_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
