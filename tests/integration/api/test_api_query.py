"""SQL over the lake by HTTP: who sees what, what nobody can do with it, and that no query outlives who asked."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet as parquet
import pytest

from edgewise.accounts.permissions import ALLOWED, Permission, Role
from edgewise.api import audit
from edgewise.api.rest.query import bounds_of
from edgewise.lake.base import MIB, LakeSettings
from edgewise.node.streams import AUDIT
from edgewise.testing.accounts import PASSWORD, PEOPLE
from edgewise.testing.lake import reading, record

if TYPE_CHECKING:
    from conftest import LiveServer

SETTINGS = """
http: {port: 0}
lake: {max_queries: 2, query_s: 40, export_bytes: 67108864}
"""
SLOW = "SELECT count(*) FROM range(100000000000) t(i) WHERE hash(i) = 1"
PATIENCE_S = 15.0


@pytest.fixture(scope="module")
def center(start_api: Callable[..., LiveServer]) -> LiveServer:
    """A center with what came in, an admin, an operator and a viewer."""
    server = start_api(SETTINGS)
    for name, role in PEOPLE.items():
        server.node.accounts.change(lambda store, name=name, role=role: store.add(name, PASSWORD, role=role))
    trail = [
        record(n, stream=stream, node="gate", secret=f"of {stream}") for stream in (AUDIT, "queries") for n in (1,)
    ]
    seen = [record(1, stream="events", label="ann"), record(1, stream="decisions", rule="open")]
    assert server.node.lake
    server.node.lake.take([*(reading(n) for n in range(1, 101)), *seen, *trail])
    return server


@pytest.fixture
def sign_in(center: LiveServer) -> Iterator[Callable[..., httpx.Client]]:
    """Somebody at a client of their own."""
    clients: list[httpx.Client] = []

    def come(name: str) -> httpx.Client:
        clients.append(httpx.Client(base_url=center.address, timeout=30))
        clients[-1].post("/v1/session", json={"name": name, "password": PASSWORD}).raise_for_status()
        return clients[-1]

    yield come
    for client in clients:
        client.close()


def ask(client: httpx.Client, sql: str, **more: Any) -> httpx.Response:
    """Asks one question."""
    return client.post("/v1/query", json={"sql": sql, **more})


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error."""
    return answer.status_code, answer.json()["error"]["code"]


def newest_query(client: httpx.Client) -> int:
    """The number of the last query that was written down; 0 before the first."""
    found = client.get("/v1/events", params={"stream": "queries", "limit": 1}).json()["events"]
    return found[0]["sequence"] if found else 0


def workers() -> set[int]:
    """The processes that run a query of this one now."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or process that has ended meanwhile
            for pid in (task / "children").read_text().split():
                if b"edgewise.lake.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(int(pid))
    return found


def nameless_files(folder: Path) -> list[str]:
    """Files in a folder that this process has open and that have no name."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(link.readlink()))
    return [target for target in targets if target.startswith(str(folder)) and target.endswith("(deleted)")]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for what happens in another process."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := condition():
            return found
        threading.Event().wait(0.02)
    raise AssertionError(what)


def hang_up_while_it_runs(client: httpx.Client, path: str, body: dict[str, Any]) -> set[int]:
    """Sends a request, waits until its query runs, and closes the connection; returns the query's processes."""
    host, port = client.base_url.host, client.base_url.port
    content = json.dumps(body).encode()
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    with socket.create_connection((host, port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\nContent-Length: {len(content)}\r\n"
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + content)
        return until(workers, "no query runs")


def test_a_question_is_answered_with_columns_their_types_and_rows(sign_in) -> None:
    answer = ask(
        sign_in("vera"), "SELECT channel, max(value) AS most, min(time) AS first FROM readings GROUP BY channel"
    )
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    assert found.pop("elapsed_s") > 0
    assert found == {
        "columns": [
            {"name": "channel", "type": "VARCHAR"},
            {"name": "most", "type": "DOUBLE"},
            {"name": "first", "type": "TIMESTAMP WITH TIME ZONE"},
        ],
        "rows": [["temperature", 50.0, "2026-11-30T12:00:01Z"]],
        "truncated": False,
    }


def test_an_answer_says_that_there_was_more(sign_in) -> None:
    vera = sign_in("vera")
    few = ask(vera, "SELECT sequence FROM readings ORDER BY 1", max_rows=2).json()
    assert (few["rows"], few["truncated"]) == ([[1], [2]], True)
    usual = ask(vera, "SELECT i FROM range(1001) t(i)").json()
    assert (len(usual["rows"]), usual["truncated"]) == (1000, True)
    wide = ask(vera, "SELECT repeat('x', 100000) FROM range(1000)").json()
    assert (len(wide["rows"]) < 60, wide["truncated"]) == (True, True)


def test_tables_are_listed_with_how_much_the_caller_may_ask_for(sign_in) -> None:
    listed = {name: sign_in(name).get("/v1/tables").json() for name in PEOPLE}
    for answer in listed.values():
        tables = {table["name"]: table for table in answer["tables"]}
        assert set(tables) == {"readings", "events", "records"}
        assert tables["readings"]["rows"] == 100
        assert tables["readings"]["bytes"] > 0
        assert {"name": "value", "type": "DOUBLE"} in tables["readings"]["columns"]
    assert listed["ada"]["bounds"] == {"max_rows": 100_000, "timeout_s": 40, "max_file_bytes": 64 * MIB}
    assert listed["olga"]["bounds"] == {"max_rows": 50_000, "timeout_s": 20, "max_file_bytes": 32 * MIB}
    assert listed["vera"]["bounds"] == {"max_rows": 25_000, "timeout_s": 10, "max_file_bytes": 16 * MIB}


@pytest.mark.parametrize(("field", "within", "beyond"), [("timeout_s", 10, 10.5), ("max_rows", 25_000, 25_001)])
def test_nobody_asks_for_more_than_their_role_has(sign_in, field: str, within: float, beyond: float) -> None:
    vera = sign_in("vera")
    assert ask(vera, "SELECT 1", **{field: within}).status_code == 200
    refused = ask(vera, "SELECT 1", **{field: beyond})
    assert code_of(refused) == (400, "input_invalid")
    assert refused.json()["error"]["facts"] == {"field": field, "limit": within}
    assert ask(sign_in("ada"), "SELECT 1", **{field: beyond}).status_code == 200


def test_a_token_counts_by_what_it_may_and_not_by_whose_it_is(center, sign_in) -> None:
    ada = sign_in("ada")

    def token(*scopes: str) -> dict[str, str]:
        made = ada.post("/v1/tokens", json={"name": "-".join(scopes), "scopes": scopes, "valid_s": None}).json()
        return {"authorization": f"Bearer {made['secret']}"}

    with httpx.Client(base_url=center.address, timeout=30) as program:
        refused = program.post("/v1/query", json={"sql": "SELECT 1"}, headers=token("predict"))
        assert code_of(refused) == (403, "forbidden")
        reading_alone = token("read")
        count = {"sql": f"SELECT count(*) FROM records WHERE stream = '{AUDIT}'"}
        assert program.post("/v1/query", json=count, headers=reading_alone).json()["rows"] == [[0]]
        assert program.get("/v1/tables", headers=reading_alone).json()["bounds"]["timeout_s"] == 10


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT body FROM records",
        "SELECT body FROM records WHERE stream = 'audit' OR true",
        "SELECT body FROM memory.main.records",
        'SELECT body FROM "records" UNION ALL BY NAME SELECT body FROM records',
        "SELECT records FROM records",
        "SELECT max(body), min(stream) FROM records",
        "SELECT * FROM query_table('records')",
        "SELECT * FROM query('SELECT body FROM records')",
        "SELECT body FROM records TABLESAMPLE 100%",
        "SUMMARIZE records",
        "WITH records AS MATERIALIZED (FROM records) FROM records",
        "FROM records SELECT stream, error(body)",
        "FROM duckdb_views()",
    ],
)
def test_what_admins_alone_see_is_in_nobody_elses_tables(sign_in, sql: str) -> None:
    said = ask(sign_in("vera"), sql).text
    assert "of audit" not in said
    assert "of queries" not in said


def test_an_admin_sees_what_an_operator_does_not(sign_in) -> None:
    sql = "SELECT stream, body->>'secret' FROM records WHERE node IN ('gate', 'shed') ORDER BY 1"
    everything = [["audit", "of audit"], ["decisions", None], ["queries", "of queries"]]
    assert ask(sign_in("ada"), sql).json()["rows"] == everything
    assert ask(sign_in("olga"), sql).json()["rows"] == [["decisions", None]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT 1; COPY readings TO '/tmp/stolen-by-http.csv'",
        "SELECT 1 \x00; COPY readings TO '/tmp/stolen-by-http.csv'",
        "DROP VIEW readings",
        " ",
        "'; --",
        "😀" * 1000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/query", "/v1/query/export"])
def test_a_query_reads_the_tables_and_does_nothing_else(sign_in, path: str, sql: str) -> None:
    refused = sign_in("ada").post(path, json={"sql": sql})
    assert code_of(refused) == (400, "input_invalid")
    assert "root:" not in refused.text
    assert not Path("/tmp/stolen-by-http.csv").exists()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sql": ""},
        {"sql": None},
        {"sql": ["SELECT 1"]},
        {"sql": "SELECT 1", "lake": "/"},
        {"sql": "SELECT 1", "max_rows": 0},
        {"sql": "SELECT 1", "timeout_s": -1},
        {"sql": "SELECT 1", "hidden_streams": []},
        {"sql": "-" * (256 * 1024 + 1)},
    ],
)
def test_a_body_that_is_no_question_is_refused(sign_in, body: dict[str, Any]) -> None:
    assert code_of(sign_in("ada").post("/v1/query", json=body)) == (400, "input_invalid")


def test_a_query_past_its_time_is_told_so_and_has_ended(sign_in) -> None:
    late = ask(sign_in("vera"), SLOW, timeout_s=0.5)
    assert code_of(late) == (413, "too_large")
    assert late.json()["error"]["facts"] == {"limit": 0.5, "resource": "time"}
    assert workers() == set()


@pytest.mark.parametrize("path", ["/v1/query", "/v1/query/export"])
def test_who_hangs_up_ends_their_query(center, sign_in, path: str) -> None:
    ada = sign_in("ada")
    pids = hang_up_while_it_runs(ada, path, {"sql": SLOW, "timeout_s": 40})  # of itself it would run on
    until(lambda: not pids & workers(), "the query runs on")
    for pid in pids:
        with pytest.raises(ProcessLookupError):  # nor is it left as a zombie
            os.kill(pid, 0)
    until(lambda: ask(ada, "SELECT 1").status_code == 200, "its place is still taken")
    until(lambda: not nameless_files(center.folder), "its file is still open")


def test_no_more_queries_run_at_once_than_the_settings_say_and_nobody_takes_all_places(sign_in) -> None:
    ada, olga, vera = sign_in("ada"), sign_in("olga"), sign_in("vera")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, vera, SLOW, timeout_s=3)
        until(lambda: len(workers()) == 1, "no query runs")
        again = ask(vera, "SELECT 1")
        assert code_of(again) == (503, "busy")
        assert again.headers["retry-after"] == "2"
        second = pool.submit(ask, olga, SLOW, timeout_s=3)
        until(lambda: len(workers()) == 2, "the other one is shut out")
        full = ask(ada, "SELECT 1")
        assert (code_of(full), full.headers["retry-after"]) == ((503, "busy"), "2")
        start = time.monotonic()
        assert ada.get("/v1/health").status_code == 200
        assert ada.get("/v1/events").status_code == 200
        assert time.monotonic() - start < 2  # what runs holds up nobody else
        assert (first.result().status_code, second.result().status_code) == (413, 413)
    assert ask(ada, "SELECT 1").status_code == 200


def test_rows_are_taken_along_as_a_file(center, sign_in) -> None:
    vera = sign_in("vera")
    body = {"sql": "SELECT sequence, '=1+1' AS note FROM readings ORDER BY 1"}
    table = vera.post("/v1/query/export", json=body)
    assert table.status_code == 200
    assert table.headers["content-disposition"].startswith('attachment; filename="query-')
    assert table.headers["content-disposition"].endswith('.csv"')
    header, *rows = csv.reader(io.StringIO(table.text))
    assert (header, len(rows), rows[0]) == (["sequence", "note"], 100, ["1", "'=1+1"])
    packed = vera.post("/v1/query/export", params={"format": "parquet"}, json=body)
    assert parquet.read_table(io.BytesIO(packed.content)).num_rows == 100
    assert int(packed.headers["content-length"]) == len(packed.content)
    assert code_of(vera.post("/v1/query/export", params={"format": "xls"}, json=body)) == (400, "input_invalid")
    until(lambda: not nameless_files(center.folder), "a file is still open")


def test_a_file_past_the_bound_is_refused_and_leaves_nothing(center, sign_in) -> None:
    before = sorted(center.folder.rglob("*"))
    large = {"sql": "SELECT hash(i) AS h FROM range(10000000) t(i)"}
    refused = sign_in("vera").post("/v1/query/export", params={"format": "parquet"}, json=large)
    assert code_of(refused) == (413, "too_large")
    assert refused.json()["error"]["facts"] == {"limit": 16 * MIB, "resource": "file"}
    assert nameless_files(center.folder) == []
    assert {file for file in sorted(center.folder.rglob("*")) if file not in before and "lake" not in file.parts} <= {
        file for file in center.folder.rglob("*") if "journal" in file.parts
    }


def test_who_stops_fetching_a_file_leaves_nothing_open(center, sign_in) -> None:
    olga = sign_in("olga")
    rows = {"sql": "SELECT hash(i) AS h FROM range(2000000) t(i)"}
    with olga.stream("POST", "/v1/query/export", params={"format": "parquet"}, json=rows) as answer:
        assert answer.status_code == 200, answer.read()
        pieces = answer.iter_raw(1024)  # held, or httpx hangs up
        next(pieces)
        assert len(nameless_files(center.folder)) == 1
        busy = olga.post("/v1/query/export", json={"sql": "SELECT 1 AS one"})
        assert code_of(busy) == (503, "busy")  # the file counts as long as it is there
    until(lambda: not nameless_files(center.folder), "the file is still open")
    assert olga.post("/v1/query/export", json={"sql": "SELECT 1 AS one"}).status_code == 200


def test_who_asked_what_is_written_down_whatever_came_of_it(center, sign_in) -> None:
    ada, vera = sign_in("ada"), sign_in("vera")
    newest = newest_query(ada)
    ask(vera, "SELECT 'who' AS a, count(*) FROM events")
    ask(vera, "SELECT error('ann was here')")
    vera.post("/v1/query/export", params={"format": "csv"}, json={"sql": "SELECT kind FROM events"})
    ask(vera, f"SELECT '{'x' * 5000}'")
    found = ada.get("/v1/events", params={"stream": "queries", "after": newest}).json()["events"][::-1]
    assert [(one["kind"], one["body"]["who"], one["body"]["outcome"]) for one in found] == [
        ("lake.queried", "vera", "done"),
        ("lake.queried", "vera", "failed"),
        ("lake.exported", "vera", "done"),
        ("lake.queried", "vera", "done"),
    ]
    first, failed, exported, long = (one["body"]["what"] for one in found)
    assert (first["sql"], first["rows"], first["truncated"]) == ("SELECT 'who' AS a, count(*) FROM events", 1, False)
    assert failed == {"sql": "SELECT error('ann was here')", "ran": True}
    assert exported == {"sql": "SELECT kind FROM events", "format": "csv", "ran": True, "rows": 1}
    assert len(long["sql"]) == 4096
    assert len(long["sql_sha256"]) == 64
    refused = vera.get("/v1/events", params={"stream": "queries"})
    assert code_of(refused) == (403, "forbidden")
    assert vera.get("/v1/audit").status_code == 403


def test_nobody_hides_a_question_among_others(center, sign_in, monkeypatch) -> None:
    monkeypatch.setattr(audit, "MOST_A_MINUTE", 3)
    ada, vera = sign_in("ada"), sign_in("vera")
    changes = center.node.journal.read(AUDIT, limit=1, newest_first=True)
    newest = newest_query(ada)
    for n in range(10):
        ask(vera, f"SELECT {n}", timeout_s=11)  # costs nothing, and tells nothing
    for n in range(5):
        ask(vera, f"SELECT error(kind) FROM events LIMIT {n + 1}")  # tells a value in the words of its error
    found = ada.get("/v1/events", params={"stream": "queries", "after": newest}).json()["events"]
    asked = [one["body"]["what"]["sql"] for one in reversed(found)]
    assert asked[-5:] == [f"SELECT error(kind) FROM events LIMIT {n + 1}" for n in range(5)]
    assert len(asked) <= 3 + 5
    assert center.node.journal.read(AUDIT, limit=1, newest_first=True) == changes


def test_a_node_without_a_lake_says_how_to_get_one(start_api, monkeypatch) -> None:
    server = start_api("http: {port: 0}")
    with httpx.Client(base_url=server.address, timeout=20) as client:

        def answers() -> list[httpx.Response]:
            body = {"sql": "SELECT 1"}
            return [
                client.get("/v1/tables"),
                client.post("/v1/query", json=body),
                client.post("/v1/query/export", json=body),
            ]

        for answer in answers():
            assert code_of(answer) == (404, "not_found")
            assert answer.json()["error"]["hint"] == "Add `lake: {}` to the settings and start the node anew."
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *more: None if name == "duckdb" else find(name, *more)
        )
        for answer in answers():
            assert "pip install 'edgewise[lake]'" in answer.json()["error"]["hint"]
            assert answer.json()["error"]["facts"]["missing"] == ["duckdb"]


def test_a_lake_in_which_nothing_has_landed_is_empty_and_tells_no_path(start_api) -> None:
    server = start_api("http: {port: 0}\nlake: {}")
    assert server.node.landing
    server.node.landing.stop()
    shutil.rmtree(server.folder / "edgewise-data" / "lake", ignore_errors=True)  # as it is until the first moment
    with httpx.Client(base_url=server.address, timeout=20) as client:
        assert client.get("/v1/tables").json()["tables"] == []
        answer = ask(client, "SELECT * FROM readings")
        assert code_of(answer) == (404, "not_found")
        assert str(server.folder) not in answer.text


def test_a_server_that_stops_ends_the_queries_that_run(start_api) -> None:
    server = start_api("http: {port: 0}\nlake: {}")
    server.node.lake.take([reading(1)])
    with httpx.Client(base_url=server.address, timeout=30) as client, ThreadPoolExecutor(1) as pool:
        pool.submit(ask, client, SLOW, timeout_s=50)
        until(workers, "no query runs")
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < PATIENCE_S
        until(lambda: not workers(), "the query outlives the node")


def test_bounds_follow_from_permissions_alone() -> None:
    settings = LakeSettings(query_s=100)
    by_role = {role: bounds_of(ALLOWED[role], settings) for role in Role}
    assert [by_role[role].timeout_s for role in Role] == [25, 50, 100]
    assert [bool(by_role[role].hidden_streams) for role in Role] == [True, True, False]
    assert bounds_of([Permission.READ, Permission.PREDICT], settings) == bounds_of([], settings)
