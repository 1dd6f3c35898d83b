"""Lengths of time as rules write them: ``90s``, ``5m``, ``1h30m``, ``7d``."""

from __future__ import annotations

import re

_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_PART = r"\d+(?:\.\d+)?(?:ms|s|m|h|d)"

DURATION = rf"(?:{_PART})+"
"""Regular expression of a length of time."""


def nanoseconds(text: str) -> int | None:
    """``5m`` in nanoseconds; None when the text is no length of time."""
    if not re.fullmatch(DURATION, text):
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    return round(sum(float(count) * _UNITS_NS[unit] for count, unit in parts))
