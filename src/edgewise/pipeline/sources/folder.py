"""The pictures of a folder in the order of their names."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class FolderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="folder"):
    """A folder of pictures.

    Attributes:
        path: The folder; it is not searched deeper.
        watch: Goes on with files that appear later, instead of ending.
        loop: Starts again after the last one; not together with ``watch``.
        interval_s: Least time between two pictures; 0 gives them as fast as they are taken.
    """

    path: str
    watch: bool = False
    loop: bool = False
    interval_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
