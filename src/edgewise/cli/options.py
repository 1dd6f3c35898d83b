"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from edgewise.node.settings import Settings

ConfigFile = Annotated[
    Path | None,
    Parameter(name=["--config", "-c"], help="Settings file; edgewise.yaml in this folder when there is one."),
]
JsonFlag = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


def load_settings(config: Path | None, **flags: object) -> Settings:
    """Settings from file, environment and flags.

    Raises:
        SettingsError: They are wrong, or the named file does not exist.
    """
    from edgewise.node import settings

    return settings.load(config, flags={key: value for key, value in flags.items() if value is not None})
