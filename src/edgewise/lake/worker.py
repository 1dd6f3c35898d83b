"""The process that runs one query: reads a question, answers, and ends. Started by ``asking``.

What the SQL may do is bounded three times: only a single SELECT is run at all; DuckDB is locked, without files,
extensions or settings; and the process has a limit of memory and of file size, and ends itself when its time is over or
nobody waits for it any more.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import EdgewiseError, EngineError, InputError, StorageFullError, TooLargeError
from edgewise.lake.asking import out_of_memory, out_of_time
from edgewise.lake.base import MIB, Column, Limits, Result
from edgewise.lake.questions import OUT_OF_TIME, Answer, Question, Refusal
from edgewise.lake.values import plain

if TYPE_CHECKING:
    import duckdb

_BATCH_ROWS = 1000
# A query that was told to stop has so long to do it.
_STOP_S = 1.0
_PHRASE = "Queries read the lake's tables and nothing else; edgewise query --tables and GET /v1/tables list them."


def main() -> None:
    """Answers the question on standard input."""
    question = msgspec.json.decode(sys.stdin.buffer.readline(), type=Question)
    threading.Thread(target=_end_with_the_asker, daemon=True).start()
    try:
        answer = Answer(result=_run(question))
    except EdgewiseError as error:
        answer = Answer(refusal=Refusal(type(error).__name__, error.message, error.hint, error.facts))
    content = msgspec.json.encode(answer)
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    os._exit(0)  # nothing is left to do, and taking the engine down in order takes longer than the query


def _end_with_the_asker() -> None:
    # Not through sys.stdin: its lock would be held while the interpreter ends.
    while os.read(0, 1024):
        pass
    os._exit(1)


def _run(question: Question) -> Result:
    import duckdb

    limits = question.limits
    connection = _connect(limits)
    _register(connection, question)
    connection.execute("SET TimeZone='UTC'")
    connection.execute("SET lock_configuration=true")
    _bound(question)
    start = time.monotonic()
    late = _Alarm(connection, limits.timeout_s)
    try:
        result = _answer(connection, question)
    except duckdb.InterruptException as error:
        raise out_of_time(limits) from error
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise out_of_memory(limits) from error
    except duckdb.Error as error:
        raise _refused(error) from error
    finally:
        late.cancel()
    return msgspec.structs.replace(result, elapsed_s=time.monotonic() - start)


def _connect(limits: Limits) -> duckdb.DuckDBPyConnection:
    import duckdb

    return duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
            "temp_directory": "",
            "memory_limit": f"{limits.memory_bytes // 2}B",
            "threads": limits.threads,
        },
    )


def _register(connection: duckdb.DuckDBPyConnection, question: Question) -> None:
    """Makes each table a view over one snapshot of it."""
    import pyarrow as arrow  # type: ignore[import-untyped]
    from deltalake import DeltaTable

    from edgewise.lake.delta import nothing_at
    from edgewise.lake.rows import TABLES
    from edgewise.lake.storage import place, translated

    arrow.set_cpu_count(question.limits.threads)
    where = place(question.settings)
    found = False
    with translated(where.url):
        for name in TABLES:
            url = where.table(name)
            if DeltaTable.is_deltatable(url, where.options):
                found = True
                table = DeltaTable(url, storage_options=where.options).to_pyarrow_dataset()
                connection.register(name, _shown(table, name, question.limits.hidden_streams))
    if not found:
        raise nothing_at(where.url)


def _shown(table: Any, name: str, hidden: tuple[str, ...]) -> Any:
    """A table without the records of hidden streams. Arrow leaves them out before the engine gets any row, so no SQL
    leads around it.
    """
    import pyarrow.dataset as dataset  # type: ignore[import-untyped]

    if name == "records":
        return table.filter(~dataset.field("stream").isin(list(hidden))) if hidden else table
    return table.filter(dataset.scalar(False)) if name in hidden else table


def _bound(question: Question) -> None:
    """Limits what the process may take from here on."""
    with open("/proc/self/status") as status:
        data = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    most = data + question.limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Without an export the one file is what is said on standard error.
    size = question.limits.max_file_bytes if question.format else MIB
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class _Alarm:
    """Interrupts a query, and ends the process when that does not help."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timer = threading.Timer(timeout_s, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """It ended in time."""
        self._timer.cancel()

    def _ring(self) -> None:
        self._connection.interrupt()
        time.sleep(_STOP_S)
        os._exit(OUT_OF_TIME)


def _answer(connection: duckdb.DuckDBPyConnection, question: Question) -> Result:
    import duckdb

    statements = connection.extract_statements(question.sql)
    allowed = {duckdb.StatementType.SELECT, *([] if question.format else [duckdb.StatementType.EXPLAIN])}
    if len(statements) != 1 or statements[0].type not in allowed:
        raise InputError("A query is one SELECT", hint=_PHRASE)
    connection.execute(statements[0])
    if question.format:
        return _export(connection, question)
    return _fetch(connection, question.limits)


def _fetch(connection: duckdb.DuckDBPyConnection, limits: Limits) -> Result:
    columns = tuple(Column(str(each[0]), str(each[1])) for each in connection.description or [])
    rows: list[list[Any]] = []
    left = limits.max_bytes
    while batch := connection.fetchmany(min(_BATCH_ROWS, limits.max_rows + 1 - len(rows))):
        for cells in batch:
            row = [plain(cell) for cell in cells]
            left -= len(msgspec.json.encode(row)) + 1
            if left < 0 or len(rows) == limits.max_rows:
                return Result(columns, rows, truncated=True, elapsed_s=0.0)
            rows.append(row)
    return Result(columns, rows, truncated=False, elapsed_s=0.0)


def _export(connection: duckdb.DuckDBPyConnection, question: Question) -> Result:
    from edgewise.lake.exporting import write

    try:
        count = write(connection.to_arrow_reader(10_000), question.format or "csv", descriptor=question.descriptor)
    except OSError as error:
        limit = question.limits.max_file_bytes
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFullError("No space left for the file", hint="Free disk space, then retry.") from error
        if error.errno != errno.EFBIG:
            raise
        raise TooLargeError(
            f"The file would be larger than {limit} bytes", hint="Ask for less.", limit=limit, resource="file"
        ) from error
    return Result((Column("rows", "BIGINT"),), [[count]], truncated=False, elapsed_s=0.0)


def _refused(error: duckdb.Error) -> EdgewiseError:
    import duckdb

    said = str(error)[:2000]
    if isinstance(error, duckdb.InternalException | duckdb.FatalException):
        return EngineError(f"The query engine failed: {said}")
    hint = _PHRASE if isinstance(error, duckdb.PermissionException | duckdb.CatalogException) else ""
    return InputError(said, hint=hint)


if __name__ == "__main__":
    main()
