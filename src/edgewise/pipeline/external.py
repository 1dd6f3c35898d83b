"""Settings of a source or transform that another package brings through an entry point."""

from __future__ import annotations

from typing import Any

import msgspec


class ExternalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="external"):
    """Names an entry point of ``edgewise.sources`` or ``edgewise.transforms``.

    Attributes:
        use: Name of the entry point.
        options: Converted to the ``Settings`` struct of the class behind it.
    """

    use: str
    options: dict[str, Any] = {}
