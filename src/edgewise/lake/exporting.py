"""Writing what a query gives to an open file, batch by batch."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from edgewise.errors import InputError
from edgewise.lake.base import Format
from edgewise.lake.values import plain

# What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA = r"^[=+\-@\t\r]"


def write(batches: Any, form: Format, *, descriptor: int) -> int:
    """Writes record batches; returns their rows.

    Args:
        batches: A ``pyarrow.RecordBatchReader``.
        form: What the file becomes.
        descriptor: Of a file open for writing; stays open.

    Raises:
        OSError: The disk is full, or the file past the process's limit.
        InputError: Two columns have one name.
    """
    import pyarrow as arrow  # type: ignore[import-untyped]
    from pyarrow import csv, parquet

    names = batches.schema.names
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise InputError(f"Two columns are named {twice!r}", hint="Give one another name: SELECT a AS b.")
    count = 0
    with os.fdopen(os.dup(descriptor), "wb") as raw, arrow.PythonFile(raw, mode="w") as file:
        if form == "parquet":
            writer = parquet.ParquetWriter(file, batches.schema, compression="zstd")
        else:
            writer = csv.CSVWriter(file, _safe(batches.schema.empty_table().to_batches(), batches.schema).schema)
        with writer:
            for batch in batches:
                count += batch.num_rows
                table = arrow.Table.from_batches([batch])
                writer.write(table if form == "parquet" else _safe([batch], batches.schema))
    return count


def _safe(batches: list[Any], schema: Any) -> Any:
    """Batches as CSV can hold them: nested values and bytes as JSON has them, and text that is no formula."""
    import pyarrow as arrow
    from pyarrow import compute

    table = arrow.Table.from_batches(batches, schema=schema)
    columns = []
    for column in table.columns:
        kind = column.type
        if arrow.types.is_nested(kind) or arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind):
            cells = [None if cell is None else _text(plain(cell)) for cell in column.to_pylist()]
            column = arrow.chunked_array([arrow.array(cells, arrow.string())])
        if arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type):
            guarded = compute.binary_join_element_wise("'", column, "")
            column = compute.if_else(compute.match_substring_regex(column, _FORMULA), guarded, column)
        columns.append(column)
    return arrow.table(columns, names=table.column_names)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
