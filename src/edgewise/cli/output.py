"""What commands print with: results on stdout, everything else on stderr, JSON when asked."""

from __future__ import annotations

import datetime
import functools
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgewise.errors import EdgewiseError, EngineError, SettingsError

if TYPE_CHECKING:
    from edgewise.runtimes.base import Session


@functools.cache
def out() -> Console:
    """The console for results."""
    return Console(highlight=False, soft_wrap=True)


@functools.cache
def err() -> Console:
    """The console for progress, hints and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def show_error(error: EdgewiseError) -> None:
    """Prints an error: what is wrong, its code, and what to do next."""
    err().print(f"[bold red]Error[/] [dim]({error.code})[/] {escape(error.message)}")
    if hint := error.hint or _otherwise(error):
        err().print(f"[bold]  →[/] {escape(hint)}")


def _otherwise(error: EdgewiseError) -> str:
    """What helps with errors whose cause does not know the command line."""
    if error.facts.get("kind") == "file":
        return f"Check the path; it counts from {Path.cwd()}."
    if isinstance(error, SettingsError):
        return (
            "Keys, types and defaults stand in docs/reference/settings.md; edgewise config show prints those in force."
        )
    if isinstance(error, EngineError):
        return "See whether its package is in order: edgewise model check MODEL"
    return ""


def note(message: str) -> None:
    """Prints a remark for the person, not part of the result. Rich markup is honoured."""
    err().print(message)


def note_fallback(session: Session) -> None:
    """Says why a model does not run on the hardware that was asked for, or on better."""
    if session.fallback:
        note(f"[yellow]runs on {session.provider}[/]: {escape(session.fallback)}")


def show_json(value: Any) -> None:
    """Prints one JSON document on one line, as programs read it."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Prints a table; columns whose name ends in a unit or count are right-aligned by their values."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    listed = [[str(cell) for cell in row] for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(listed) and all(_is_number(row[index]) for row in listed)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*[escape(cell) for cell in row])
    Console(highlight=False).print(table)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[\d.,]+ ?(%|s|ms|B|kB|MB|GB)?", text) is not None


def moment(time_ns: int) -> str:
    """A time as this machine's clock shows it, to the second."""
    return datetime.datetime.fromtimestamp(time_ns / 1e9, tz=datetime.UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def counted(count: int, what: str) -> str:
    """``1 photo``, ``2 photos``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def human_bytes(count: float) -> str:
    """``1536`` as ``1.5 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
