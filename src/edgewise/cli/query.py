"""``edgewise query``: SQL over the lake, and what it answers as table, JSON, CSV or Parquet."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import Parameter
from rich.markup import escape

from edgewise.cli import output
from edgewise.cli.options import ConfigFile, load_settings
from edgewise.errors import InputError

if TYPE_CHECKING:
    from edgewise.lake.base import Lake, Limits, Result

_MIB = 1024 * 1024


def query(
    sql: str = "",
    /,
    *,
    lake: Path | None = None,
    config: ConfigFile = None,
    tables: Annotated[bool, Parameter(negative="")] = False,
    format: Literal["table", "json", "csv", "parquet"] | None = None,  # noqa: A002 - the option's name
    output_file: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    rows: int = 1000,
    timeout: float = 30.0,
    memory: int = 512,
) -> None:
    """Ask the lake in SQL, or write what it answers into a file.

    Only reads, also beside a running node. Exit code 5 when the query is wrong or runs into its limits.

    Parameters
    ----------
    sql:
        One SELECT in DuckDB's SQL over ``readings``, ``events`` and ``records``.
    lake:
        Folder of a lake; without it, the lake of the settings.
    tables:
        List the tables with their columns and row counts.
    format:
        ``parquet`` needs ``--output``; left out, it is taken from the name of that file, or is ``table``.
    output_file:
        File to write, all rows of it; it appears whole or not at all.
    rows:
        Rows shown at most.
    timeout:
        Seconds the query may run.
    memory:
        Megabytes the query may take.
    """
    if tables == bool(sql):
        raise InputError("Give a query, or --tables", hint='edgewise query "SELECT * FROM events LIMIT 10"')
    opened = _open(lake, config)
    if tables:
        _show_tables(opened, as_json=format == "json")
        return
    limits = _limits(rows, timeout, memory)
    form = format or (output_file.suffix.removeprefix(".").lower() if output_file else "table")
    if form in {"csv", "parquet"}:
        _export(opened, sql, form, output_file, limits)
    elif form in {"table", "json"} and output_file is None:
        _show(opened.query(sql, limits), as_json=form == "json")
    else:
        raise InputError(f"A file cannot be {form or 'without a format'}", hint="Use --format csv or --format parquet.")


def _open(folder: Path | None, config: Path | None) -> Lake:
    from edgewise.lake import open_lake
    from edgewise.lake.base import LakeSettings

    if folder is not None:
        return open_lake(LakeSettings(folder=str(folder)))
    from edgewise.node.organs import lake_settings

    return open_lake(lake_settings(load_settings(config)))


def _limits(rows: int, timeout: float, memory: int) -> Limits:
    from edgewise.lake.base import Limits

    facts = {"max_rows": rows, "timeout_s": timeout, "memory_bytes": memory * _MIB, "max_bytes": 64 * _MIB}
    try:
        return msgspec.convert(facts, Limits)
    except msgspec.ValidationError as error:
        raise InputError(f"These limits cannot be: {error}", hint="See --rows, --timeout and --memory.") from error


def _show_tables(lake: Lake, *, as_json: bool) -> None:
    found = lake.tables()
    if as_json:
        output.show_json({"tables": found})
        return
    output.show_table(
        ("table", "rows", "files", "size"),
        [(each.name, f"{each.rows:,}", each.files, output.human_bytes(each.bytes)) for each in found],
    )
    for each in found:
        output.show_table(
            ("column", "type"), [(column.name, column.type) for column in each.columns], title=f"\n{each.name}"
        )


def _show(result: Result, *, as_json: bool) -> None:
    if as_json:
        output.show_json(result)
    else:
        output.show_table(
            [escape(column.name) for column in result.columns], [[_cell(cell) for cell in row] for row in result.rows]
        )
    if result.truncated:
        shown = output.counted(len(result.rows), "row")
        output.note(f"[yellow]There is more[/]: this is the first {shown}. Show more with --rows, or write a file.")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _export(lake: Lake, sql: str, form: str, path: Path | None, limits: Limits) -> None:
    kind: Literal["csv", "parquet"] = "csv" if form == "csv" else "parquet"
    if path is not None:
        count = lake.export(sql, path, format=kind, limits=limits)
        size = output.human_bytes(path.stat().st_size)
        output.note(f"{output.counted(count, 'row')} in {escape(str(path))}, {size}.")
        return
    if kind == "parquet":
        raise InputError("Parquet is no text to print", hint="Name a file: --output rows.parquet")
    with tempfile.TemporaryDirectory() as folder:
        lake.export(sql, Path(folder) / "rows.csv", format=kind, limits=limits)
        with open(Path(folder) / "rows.csv", encoding="utf-8", newline="") as file:
            shutil.copyfileobj(file, sys.stdout)
