"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.node.settings import Settings

ConfigFile = Annotated[
    Path | None,
    Parameter(name=["--config", "-c"], help="Settings file; edgewise.yaml in this folder when there is one."),
]
JsonFlag = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def load_settings(config: Path | None, **flags: object) -> Settings:
    """Settings from file, environment and flags.

    Raises:
        SettingsError: They are wrong, or the named file does not exist.
    """
    from edgewise.node import settings

    return settings.load(config, flags={key: value for key, value in flags.items() if value is not None})


def seconds(text: str) -> float:
    """A length of time.

    Raises:
        InputError: It is none.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise InputError(f"{text!r} is no length of time", hint="Write 30m, 12h or 7d.")
    return float(found[1]) * _UNITS[found[2]]
