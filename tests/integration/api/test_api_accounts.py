"""Who may use a node, over HTTP: signing in, roles, tokens that are revoked, and what the audit log holds of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from edgewise.accounts.permissions import ROUTES, Permission, Role
from edgewise.errors import SettingsError
from edgewise.node.streams import AUDIT
from edgewise.testing.accounts import PASSWORD, PEOPLE

if TYPE_CHECKING:
    from conftest import LiveServer

UNLOCK = {"command": "unlock"}
COMMANDS = "/v1/devices/front/commands"
INFER = "/v2/models/echo/infer"
TENSOR = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1000], "data": [0.5] * 1000}]}
OTHER = "other words in a row"


@pytest.fixture
def house(start_api: Callable[..., LiveServer]) -> LiveServer:
    """A node with an admin, an operator and a viewer."""
    server = start_api()
    for name, role in PEOPLE.items():
        server.node.accounts.change(lambda store, name=name, role=role: store.add(name, PASSWORD, role=role))
    return server


@pytest.fixture
def sign_in(house: LiveServer) -> Iterator[Callable[..., httpx.Client]]:
    """Somebody at a browser of their own."""
    clients: list[httpx.Client] = []

    def come(name: str = "", password: str = PASSWORD, **headers: str) -> httpx.Client:
        clients.append(httpx.Client(base_url=house.address, timeout=20, headers=headers))
        if name:
            clients[-1].post("/v1/session", json={"name": name, "password": password}).raise_for_status()
        return clients[-1]

    yield come
    for client in clients:
        client.close()


def audit_log(client: httpx.Client, **query: Any) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What was changed: kind, who, outcome and facts, oldest first."""
    events = client.get("/v1/audit", params=query).json()["events"]
    return [(one["kind"], one["body"]["who"], one["body"]["outcome"], one["body"]["what"]) for one in reversed(events)]


def test_every_route_of_the_document_stands_in_the_table_and_the_other_way_round(house, sign_in) -> None:
    paths = sign_in("vera").get("/schema/openapi.json").json()["paths"]
    methods = {"get", "post", "put", "patch", "delete"}
    documented = {(method.upper(), path) for path, verbs in paths.items() for method in verbs if method in methods}
    table = {(route.method, route.path) for route in ROUTES}
    assert documented - table == set()
    # These describe the document itself.
    assert table - documented == {("GET", "/schema"), ("GET", "/schema/openapi.json")}


def test_strangers_get_nothing_of_any_route_but_what_is_for_everybody(house, sign_in) -> None:
    stranger = sign_in()
    for route in ROUTES:
        path = route.path.replace("{sequence}", "1")
        status = stranger.request(route.method, path, json={}).status_code
        assert (status == 401) == (route.permission is not None), (route, status)


@pytest.mark.parametrize("name", list(PEOPLE))
def test_each_role_gets_past_the_guard_of_what_it_may_and_of_nothing_else(house, sign_in, name: str) -> None:
    client = sign_in(name)
    allowed = set(client.get("/v1/session").json()["permissions"])
    endless = ("/v1/events/stream", "/v1/observations/stream", "/v1/cameras/{name}/live", "/v1/session")
    for route in ROUTES:
        if route.path in endless or route.permission is None:
            continue
        status = client.request(route.method, route.path.replace("{sequence}", "1"), json={}).status_code
        assert (status == 403) == (route.permission.value not in allowed), (route, status)


def test_a_viewer_sees_the_lock_and_cannot_open_it_and_an_operator_can(house, sign_in) -> None:
    vera, olga = sign_in("vera"), sign_in("olga")
    assert vera.get("/v1/devices/front").json()["state"]["state"] == "locked"
    refused = vera.post(COMMANDS, json=UNLOCK)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert refused.json()["error"]["facts"] == {"permission": "operate"}
    assert olga.post(COMMANDS, json=UNLOCK).json()["status"] == "done"
    assert vera.get("/v1/devices/front").json()["state"]["state"] == "unlocked"
    assert audit_log(sign_in("ada"), kind="devices.*") == [
        ("devices.commanded", "vera", "refused", {}),
        ("devices.commanded", "olga", "done", {"device": "front", "command": "unlock"}),
    ]


def test_signing_in_sets_a_cookie_that_scripts_cannot_read_and_tells_who_one_is(house, sign_in) -> None:
    client = sign_in()
    answer = client.post("/v1/session", json={"name": " Olga ", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie  # this node has no TLS; a browser would not send the cookie back
    assert answer.json() == client.get("/v1/session").json()
    assert answer.json() == {
        "required": True,
        "accounts": True,
        "signed_in": True,
        "name": "olga",
        "role": "operator",
        "via": "session",
        "permissions": ["operate", "predict", "read"],
    }
    assert client.delete("/v1/session").status_code == 204
    assert client.get("/v1/session").json()["signed_in"] is False
    client.cookies.set("edgewise_session", cookie.partition("=")[2].partition(";")[0])
    assert client.get("/v1/devices").status_code == 401


def test_another_sites_page_cannot_sign_anybody_in_or_out(house, sign_in) -> None:
    client = sign_in("olga", origin="")
    for method in ("POST", "DELETE"):
        answer = client.request(method, "/v1/session", json={}, headers={"origin": "https://evil.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")
    assert client.get("/v1/session").json()["signed_in"]


def test_wrong_names_and_wrong_passwords_are_answered_alike_and_who_guesses_waits(house, sign_in) -> None:
    stranger = sign_in()
    answers = [
        stranger.post("/v1/session", json={"name": name, "password": OTHER}) for name in ("ada", "nobody", "ada")
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    for _ in range(3):
        stranger.post("/v1/session", json={"name": "ada", "password": OTHER})
    waits = stranger.post("/v1/session", json={"name": "ada", "password": PASSWORD})
    assert (waits.status_code, waits.json()["error"]["code"]) == (429, "too_many_attempts")
    assert int(waits.headers["retry-after"]) >= 1
    tried = audit_log(sign_in("olga") and sign_in("", authorization=f"Bearer {admin_token(house)}"), kind="session.*")
    assert tried[0] == ("session.began", "", "refused", {"account": "ada"})
    assert tried[1] == ("session.began", "", "refused", {"account": ""})
    assert "nobody" not in json.dumps(tried)


def admin_token(house: LiveServer) -> str:
    """An API token of the admin's that may do everything."""
    return house.node.accounts.change(lambda store: store.add_token("ada", "tests", list(Permission)))[1]


def test_a_revoked_token_ends_at_once_also_on_a_connection_that_is_open(house, sign_in) -> None:
    ada = sign_in("ada")
    made = ada.post("/v1/tokens", json={"name": "camera", "scopes": ["predict"]})
    assert made.headers["cache-control"] == "no-store"
    secret, token = made.json()["secret"], made.json()["token"]
    camera = sign_in(authorization=f"Bearer {secret}")
    del camera.headers["accept-encoding"]
    assert camera.get("/v1/devices").status_code == 403
    for _ in range(3):  # the short way, where what follows from a head is remembered
        assert camera.post(INFER, json=TENSOR).status_code == 200
    listed = ada.get("/v1/tokens").json()["tokens"]
    assert [(one["id"], one["account"], one["scopes"]) for one in listed] == [(token["id"], "ada", ["predict"])]
    assert secret not in ada.get("/v1/tokens").text
    assert ada.delete(f"/v1/tokens/{token['id']}").status_code == 204
    assert camera.post(INFER, json=TENSOR).status_code == 401
    assert ada.delete(f"/v1/tokens/{token['id']}").status_code == 404


def test_a_stream_that_is_open_ends_with_the_session_it_was_opened_in(house, sign_in, caplog) -> None:
    ended = threading.Event()
    opened = threading.Event()
    told: list[bytes] = []
    vera = sign_in("vera")

    def watch() -> None:
        try:
            with vera.stream("GET", "/v1/events/stream") as stream:
                for piece in stream.iter_raw():
                    told.append(piece)
                    opened.set()
        finally:
            ended.set()

    thread = threading.Thread(target=watch)
    thread.start()
    assert opened.wait(10)
    sign_in("ada").delete("/v1/accounts/vera/sessions").raise_for_status()
    from edgewise.types import Entry

    house.node.journal.append("events", [Entry("test.secret", {})])
    assert ended.wait(10)
    thread.join()
    assert b"secret" not in b"".join(told)
    assert not caplog.records


def test_the_records_of_the_audit_are_for_admins_by_whatever_path(house, sign_in) -> None:
    for path in ("/v1/events?stream=audit", "/v1/events/stream?stream=audit", "/v1/audit"):
        assert sign_in("olga").get(path).status_code == 403
    assert sign_in("ada").get("/v1/events?stream=audit").status_code == 200


def test_admins_make_change_and_remove_accounts_and_each_change_is_recorded(house, sign_in) -> None:
    ada = sign_in("ada")
    made = ada.post("/v1/accounts", json={"name": "Bo", "password": PASSWORD, "role": "viewer"})
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["role"], made.json()["sessions"]) == ("bo", "viewer", 0)
    bo = sign_in("bo")
    assert ada.patch("/v1/accounts/bo", json={"role": "operator"}).json()["role"] == "operator"
    assert bo.get("/v1/devices").status_code == 401
    assert ada.patch("/v1/accounts/bo", json={"password": OTHER, "disabled": True}).json()["disabled"] is True
    refused = sign_in().post("/v1/session", json={"name": "bo", "password": OTHER})
    assert refused.status_code == 401
    assert ada.patch("/v1/accounts/bo", json={"disabled": False}).status_code == 200
    assert sign_in("bo", OTHER).get("/v1/devices").status_code == 200
    assert ada.delete("/v1/accounts/bo").status_code == 204
    assert ada.delete("/v1/accounts/ada").status_code == 409
    assert ada.post("/v1/accounts", json={"name": "vera", "password": PASSWORD}).status_code == 409
    assert ada.post("/v1/accounts", json={"name": "cy", "password": "short"}).status_code == 400
    assert [account["name"] for account in ada.get("/v1/accounts").json()["accounts"]] == ["ada", "olga", "vera"]
    log = audit_log(ada, kind="accounts.*")
    assert log == [
        ("accounts.added", "ada", "done", {"account": "bo", "role": "viewer"}),
        ("accounts.changed", "ada", "done", {"account": "bo", "role": "operator"}),
        ("accounts.changed", "ada", "done", {"account": "bo", "password": "changed", "disabled": True}),
        ("accounts.changed", "ada", "done", {"account": "bo", "disabled": False}),
        ("accounts.removed", "ada", "done", {"account": "bo"}),
        ("accounts.removed", "ada", "failed", {"account": "ada"}),
        ("accounts.added", "ada", "failed", {}),
        ("accounts.added", "ada", "failed", {}),
    ]
    assert PASSWORD not in json.dumps(log)
    assert OTHER not in json.dumps(log)


def test_the_audit_log_says_from_where_and_is_read_in_pages(house, sign_in) -> None:
    ada = sign_in("ada")
    for _ in range(5):
        ada.delete("/v1/devices/front/hold").raise_for_status()
    first = ada.get("/v1/audit", params={"limit": 2, "kind": "devices.released"}).json()
    body = first["events"][0]["body"]
    assert (body["from"], body["via"], body["status"]) == ("127.0.0.1", "session", 200)
    assert body["path"] == "/v1/devices/front/hold"
    rest = ada.get("/v1/audit", params={"before": first["next_before"], "kind": "devices.released"}).json()
    assert len(first["events"]) + len(rest["events"]) == 5


def test_a_change_that_cannot_be_recorded_is_not_confirmed(house, sign_in, monkeypatch) -> None:
    from edgewise.errors import StorageFullError

    def full(*_: object) -> None:
        raise StorageFullError("The disk is full")

    ada = sign_in("ada")
    monkeypatch.setattr(house.node, "record_change", full)
    answer = ada.delete("/v1/devices/front/hold")
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage_full")
    assert ada.post("/v2/repository/models/echo/load", json={}).status_code == 507


def test_what_a_caller_is_refused_over_and_over_is_counted_and_not_written(house, sign_in, monkeypatch) -> None:
    answers = iter([0, None, None, 2])
    monkeypatch.setattr("edgewise.api.audit.Restraint.count", lambda *_, **__: next(answers))
    vera = sign_in("vera")
    for _ in range(4):
        assert vera.post(COMMANDS, json=UNLOCK).status_code == 403
    events = sign_in("ada").get("/v1/audit", params={"kind": "devices.*"}).json()["events"]
    assert [event["body"].get("left_out", 0) for event in events] == [2, 0]


def test_ones_own_password_is_changed_with_the_one_there_is_and_all_else_is_signed_out(house, sign_in) -> None:
    here, there = sign_in("vera"), sign_in("vera")
    change = {"current": PASSWORD, "new": OTHER}
    assert here.put("/v1/session/password", json={**change, "current": OTHER}).status_code == 401
    assert here.put("/v1/session/password", json={**change, "new": "short"}).status_code == 400
    assert here.put("/v1/session/password", json=change).json()["name"] == "vera"
    assert here.get("/v1/devices").status_code == 200
    assert there.get("/v1/devices").status_code == 401
    assert sign_in("vera", OTHER).get("/v1/devices").status_code == 200
    ada = sign_in("ada")
    assert ada.patch("/v1/accounts/ada", json={"password": OTHER}).status_code == 400
    by_token = sign_in(authorization=f"Bearer {admin_token(house)}")
    assert by_token.put("/v1/session/password", json=change).status_code == 403


def test_signing_out_everywhere_ends_all_of_ones_sessions(house, sign_in) -> None:
    here, there, other = sign_in("vera"), sign_in("vera"), sign_in("olga")
    assert here.delete("/v1/session", params={"everywhere": True}).status_code == 204
    assert there.get("/v1/devices").status_code == 401
    assert other.get("/v1/devices").status_code == 200


def test_a_browser_may_sign_in_with_an_api_token_and_may_what_it_may(house, sign_in) -> None:
    token, secret = house.node.accounts.change(lambda store: store.add_token("ada", "tablet", [Permission.READ]))
    tablet = sign_in()
    signed_in = tablet.post("/v1/session", json={"token": secret})
    assert (signed_in.json()["name"], signed_in.json()["permissions"]) == ("ada", ["read"])
    assert secret not in signed_in.headers["set-cookie"]
    assert tablet.get("/v1/devices").status_code == 200
    assert tablet.post(COMMANDS, json=UNLOCK).status_code == 403
    house.node.accounts.change(lambda store: store.revoke_token(token.id))
    assert tablet.get("/v1/devices").status_code == 401
    assert tablet.post("/v1/session", json={"token": secret}).status_code == 401


def test_what_a_command_changes_beside_the_node_counts_and_is_recorded(house, sign_in) -> None:
    from edgewise.cli import run

    file = next(iter(house.folder.glob("edgewise.yaml")))
    vera, ada = sign_in("vera"), sign_in("ada")
    assert run(["user", "disable", "vera", "--config", str(file)]) == 0
    house.node._accounting._task()  # what happens every second
    assert vera.get("/v1/devices").status_code == 401
    (change,) = audit_log(ada, kind="accounts.*")
    assert change[0] == "accounts.changed"
    assert change[2:] == ("done", {"account": "vera", "disabled": True})
    house.node._accounting._task()
    assert len(audit_log(ada, kind="accounts.*")) == 1


def test_the_first_account_is_made_on_the_machine_and_ends_what_the_loopback_may(start_api) -> None:
    server = start_api("http: {port: 0}")
    with httpx.Client(base_url=server.address, timeout=20) as client:
        assert client.get("/v1/session").json()["via"] == "loopback"
        refused = client.post("/v1/accounts", json={"name": "eve", "password": PASSWORD, "role": "admin"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        server.node.accounts.change(lambda store: store.add("ada", PASSWORD, role=Role.ADMIN))
        assert client.get("/v1/system").status_code == 401
        assert client.get("/v1/health").status_code == 200


def test_a_node_that_others_reach_does_not_start_without_an_account_or_a_token(start_api) -> None:
    with pytest.raises(SettingsError, match="an account or a token is needed") as caught:
        start_api("http: {port: 0, host: 0.0.0.0}")
    assert "edgewise user add" in caught.value.hint


def test_nothing_secret_is_in_the_journal(house, sign_in) -> None:
    ada = sign_in("ada")
    secret = ada.post("/v1/tokens", json={"name": "x", "scopes": ["read"]}).json()["secret"]
    sign_in().post("/v1/session", json={"name": PASSWORD, "password": OTHER})
    records = house.node.journal.read(AUDIT, limit=500)
    told = json.dumps([record.body for record in records])
    assert records
    assert not [hidden for hidden in (secret, PASSWORD, OTHER, ada.cookies["edgewise_session"]) if hidden in told]
