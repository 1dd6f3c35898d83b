"""Inference engines behind one interface; see ``base``.

``open_runtime`` gives an engine by name, ``available`` says which there are. Engines come from ``catalog`` and from
installed packages with an entry point in the group ``edgewise.runtimes``; nothing of a vendor is imported before
``open_runtime`` asks for it. A name in the catalogue cannot be taken over from outside.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

import msgspec

from edgewise.errors import MissingExtraError, NotFoundError
from edgewise.runtimes.catalog import CATALOG, RuntimeRow

if TYPE_CHECKING:
    from edgewise.runtimes.base import Runtime

ENTRY_POINTS = "edgewise.runtimes"


class Status(msgspec.Struct, frozen=True):
    """Whether an engine can be opened.

    Attributes:
        row: Its row in the catalogue.
        installed: Whether what it needs is there.
        version: The engine's version; empty when it is not installed.
        hint: The command that installs it; empty when it is installed.
    """

    row: RuntimeRow
    installed: bool
    version: str
    hint: str


def available() -> dict[str, Status]:
    """Every engine by name, the catalogue's first. Imports no engine."""
    return {name: _status(row) for name, row in _rows().items()}


def open_runtime(name: str) -> Runtime:
    """An engine by its name in the catalogue or among the entry points.

    Raises:
        NotFoundError: No engine has that name; the message names the nearest.
        MissingExtraError: It, or something it needs, is not installed.
    """
    row = CATALOG.get(name) or _rows().get(name)
    if row is None:
        raise _unknown(name)
    if not _installed(row):
        raise MissingExtraError(f"The runtime {name!r} is not installed", hint=_hint(row), runtime=name)
    module, _, attribute = row.location.partition(":")
    try:
        runtime: Runtime = getattr(importlib.import_module(module), attribute)()
    except ImportError as error:
        raise MissingExtraError(
            f"The runtime {name!r} is installed but does not load: {error}", hint=_hint(row), runtime=name
        ) from error
    return runtime


def _rows() -> dict[str, RuntimeRow]:
    outside = {
        point.name: _outside(point)
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS)
        if point.name not in CATALOG
    }
    return {**CATALOG, **outside}


def _outside(point: importlib.metadata.EntryPoint) -> RuntimeRow:
    distribution = point.dist.name if point.dist is not None else ""
    return RuntimeRow(point.value, "", (), point.module.partition(".")[0], (distribution,))


def _status(row: RuntimeRow) -> Status:
    installed = _installed(row)
    return Status(row, installed, _version(row) if installed else "", "" if installed else _hint(row))


def _installed(row: RuntimeRow) -> bool:
    return not row.module or importlib.util.find_spec(row.module) is not None


def _version(row: RuntimeRow) -> str:
    for distribution in row.distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _hint(row: RuntimeRow) -> str:
    package = f"'edgewise[{row.extra}]'" if row.extra else row.distributions[0]
    return f"pip install {package}"


def _unknown(name: str) -> NotFoundError:
    names = list(_rows())
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}? " if nearest else ""
    return NotFoundError(
        f"No runtime is named {name!r}", hint=f"{hint}Runtimes: {', '.join(names)}", kind="runtime", name=name
    )
