"""Values of a query as JSON has them. Pure."""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from typing import Any

_EXACT = 2**63


def plain(value: Any) -> Any:
    """The value in JSON: times in ISO 8601, bytes in Base64, whole numbers past 64 bits and what else there is as text,
    decimals as numbers, infinities and NaN as null.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -_EXACT <= value < _EXACT else str(value)
        case float():
            return value if math.isfinite(value) else None
        case decimal.Decimal():
            return plain(float(value))
        case datetime.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case datetime.date() | datetime.time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    return str(value)
