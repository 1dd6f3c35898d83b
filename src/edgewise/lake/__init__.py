"""Open tables at the center, and SQL over them; see ``base``. Nothing of a vendor is imported before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewise._lib.clock import Clock, SystemClock

if TYPE_CHECKING:
    from edgewise.lake.base import Lake, LakeSettings

_CLOCK = SystemClock()


def open_lake(settings: LakeSettings, *, clock: Clock = _CLOCK) -> Lake:
    """The lake that the settings name; its tables are made when the first records come.

    Raises:
        SettingsError: They name no place, or a key that cannot be read.
        MissingExtraError: The extra ``lake`` is not installed.
    """
    from edgewise.lake.delta import DeltaLake

    return DeltaLake(settings, clock=clock)
