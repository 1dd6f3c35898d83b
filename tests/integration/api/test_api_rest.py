"""The REST API on a live node: events, devices, cameras, people's settings, the console's files."""

import json
from collections.abc import Callable, Iterator

import cv2
import httpx
import numpy as np
import pytest

from edgewise.node.streams import STREAMS
from edgewise.types import Entry

JPEG = cv2.imencode(".jpg", np.full((48, 64, 3), 200, np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def own(start_api: Callable):
    """A server that these tests may change."""
    return start_api()


@pytest.fixture
def client(own) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=own.address, timeout=20) as client:
        yield client


def test_events_are_listed_newest_first_in_pages_and_by_kind(own, client: httpx.Client) -> None:
    kinds = ["face.known", "face.stranger", "alarm.raised"] * 10
    own.node.journal.append("readings", [Entry(kind, {"n": n}) for n, kind in enumerate(kinds)])
    first = client.get("/v1/events", params={"stream": "readings", "limit": 4}).json()
    assert [record["body"]["n"] for record in first["events"]] == [29, 28, 27, 26]
    older = client.get("/v1/events", params={"stream": "readings", "limit": 100, "before": first["next_before"]}).json()
    assert [record["body"]["n"] for record in older["events"]] == list(range(25, -1, -1))
    assert older["next_before"] == 0
    faces = client.get("/v1/events", params={"stream": "readings", "kind": "face.*", "limit": 20}).json()["events"]
    assert len(faces) == 20
    assert {record["kind"] for record in faces} == {"face.known", "face.stranger"}


def read_records(lines: Iterator[str], count: int) -> list[dict]:
    found = []
    for line in lines:
        if line.startswith("data: "):
            found.append(json.loads(line.removeprefix("data: ")))
            if len(found) == count:
                return found
    raise AssertionError("the stream ended")


def test_new_events_come_as_server_sent_events_and_resume(own, client: httpx.Client) -> None:
    own.node.journal.append("audit", [Entry("test.before", {})])
    with client.stream("GET", "/v1/events/stream", params={"stream": "audit"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        own.node.journal.append("audit", [Entry("test.one", {}), Entry("test.two", {})])
        one, two = read_records(lines, 2)
    assert [one["kind"], two["kind"]] == ["test.one", "test.two"]
    headers = {"last-event-id": str(one["sequence"])}
    with client.stream("GET", "/v1/events/stream", params={"stream": "audit"}, headers=headers) as stream:
        assert read_records(stream.iter_lines(), 1)[0]["kind"] == "test.two"
    assert client.get("/v1/events/stream", headers={"last-event-id": "x"}).status_code == 400


def test_a_snapshot_is_found_by_its_digest(own, client: httpx.Client) -> None:
    digest = own.node.blobs.put(JPEG, media_type="image/jpeg")
    answer = client.get(f"/v1/snapshots/{digest}")
    assert answer.content == JPEG
    assert "immutable" in answer.headers["cache-control"]
    for wrong in ("0" * 64, "x", "..%2f..%2fetc%2fpasswd"):
        assert client.get(f"/v1/snapshots/{wrong}").status_code == 404


def test_a_door_is_opened_once_however_often_the_request_is_repeated(own, client: httpx.Client) -> None:
    headers = {"idempotency-key": "one"}
    statuses = [
        client.post("/v1/devices/front/commands", json={"command": "unlock"}, headers=headers).json()["status"]
        for _ in range(2)
    ]
    assert statuses == ["done", "repeated"]
    assert client.get("/v1/devices/front").json()["state"]["state"] == "unlocked"
    decision = client.get("/v1/events", params={"stream": "decisions", "kind": "device.command"}).json()["events"][-1]
    assert (decision["body"]["device"], decision["body"]["cause"]) == ("front", "http")


def test_commands_that_do_not_fit_are_refused(client: httpx.Client) -> None:
    path = "/v1/devices/lamp/commands"
    assert client.post(path, json={"command": "explode"}).status_code == 404
    assert client.post(path, json={"command": "turn_on", "arguments": {"brightness": 900}}).status_code == 400
    assert client.post(path, json={"order": "set"}).status_code == 400
    assert client.post("/v1/devices/lampe/commands", json={"command": "turn_on"}).status_code == 404


def test_a_pushed_frame_is_seen_live(own, client: httpx.Client) -> None:
    assert client.post("/v1/cameras/door/frames", content=JPEG).status_code == 202
    with client.stream("GET", "/v1/cameras/door/live") as stream:
        assert stream.headers["content-type"].startswith("multipart/x-mixed-replace; boundary=")
        head = next(stream.iter_bytes())
    assert head.startswith(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ")
    assert client.get("/v1/cameras/door/snapshot").headers["content-type"] == "image/jpeg"
    camera = client.get("/v1/cameras").json()["cameras"][0]
    assert (camera["name"], camera["kind"], camera["width"], camera["height"]) == ("door", "upload", 64, 48)
    assert client.post("/v1/cameras/door/frames", content=b"no picture").status_code == 400
    assert client.get("/v1/cameras/back/live").status_code == 404


def test_the_face_threshold_is_kept_and_noted(own, client: httpx.Client) -> None:
    path = "/v1/settings/face-threshold"
    assert client.put(path, json={"threshold": 0.5}).json() == {"threshold": 0.5}
    assert client.get(path).json() == {"threshold": 0.5}
    assert client.put(path, json={"threshold": 3}).status_code == 400
    newest = client.get("/v1/events", params={"stream": "audit", "limit": 1}).json()["events"][0]
    assert newest["kind"] == "settings.face_threshold"


def test_people_who_are_not_known_are_not_found(client: httpx.Client) -> None:
    assert client.get("/v1/people").json() == {"people": []}
    for method, path in (("GET", "/v1/people/bob"), ("DELETE", "/v1/people/bob"), ("GET", "/v1/people/bob/photo")):
        assert client.request(method, path).status_code == 404
    assert client.patch("/v1/people/bob", json={"preferences": {}}).status_code == 404


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"name": "Ann"}, "files": {"other": b"x"}},
        {"files": {"photos": JPEG}},
        {"data": {"name": "Ann", "preferences": "{"}, "files": {"photos": JPEG}},
        {"data": {"name": "Ann", "preferences": "[]"}, "files": {"photos": JPEG}},
    ],
)
def test_an_incomplete_enrolment_is_refused(client: httpx.Client, form: dict) -> None:
    assert client.post("/v1/people", **form).status_code == 400


def test_the_books_of_the_journal_balance(client: httpx.Client) -> None:
    audit = client.get("/v1/journal/audit").json()
    assert audit["balanced"] is True
    assert {line["stream"] for line in audit["balances"]} == set(STREAMS)


def test_health_names_the_version(client: httpx.Client) -> None:
    assert client.get("/v1/health").json()["status"] == "ok"


def test_the_console_is_served_compressed_cached_and_unframed(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-encoding"] == "gzip"
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert all(loose not in policy for loose in ("unsafe", "data:", "*", "http"))
    again = client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for path in ("/nothing.js", "/../pyproject.toml", "/%2e%2e/__init__.py"):
        assert client.get(path).status_code == 404


def test_every_error_has_a_code_a_message_and_a_hint(client: httpx.Client) -> None:
    for method, path, status, code in (
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/health", 405, "method_not_allowed"),
        ("GET", "/v1/events?limit=x", 400, "input_invalid"),
        ("GET", "/v1/events?stream=other", 400, "input_invalid"),
    ):
        answer = client.request(method, path)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code)
        assert set(error) == {"code", "message", "hint", "facts"}


def test_another_sites_page_cannot_open_the_door(client: httpx.Client) -> None:
    command = {"command": "unlock"}
    for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        answer = client.post("/v1/devices/front/commands", json=command, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")


def test_with_a_token_the_console_signs_in_by_cookie(start_api: Callable, tmp_path) -> None:
    file = tmp_path / "token"
    file.write_text("correct horse\n")
    file.chmod(0o600)
    server = start_api(f"http: {{port: 0, token_file: {file}}}")
    with httpx.Client(base_url=server.address) as client:
        assert client.get("/v1/health").status_code == 200
        refused = client.get("/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "access_denied")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/models", headers={"authorization": "Bearer correct horse"}).status_code == 200
        stranger = client.get("/v1/session").json()
        assert (stranger["required"], stranger["signed_in"], stranger["permissions"]) == (True, False, [])
        assert client.post("/v1/session", json={"token": "wrong"}).status_code == 401
        signed_in = client.post("/v1/session", json={"token": "correct horse"})
        cookie = signed_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "horse" not in cookie
        assert client.get("/v1/models").status_code == 200
        assert client.delete("/v1/session").status_code == 204
        assert client.get("/v1/models").status_code == 401
