"""The nodes below over HTTP: how they are, their labels, letting in and taking out, and the audit of the tree."""

from __future__ import annotations

import secrets

import httpx
import pytest

from edgewise.journal.base import Standing, StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.link.reports import Counted, PipelineReport, Report, Told
from edgewise.trust.joining import JoinToken
from edgewise.trust.proof import Stranger
from edgewise.types import Entry

SETTINGS = "node: {name: center}\nhttp: {port: 0}\nhttps: {host: 127.0.0.1, port: 0}\n"


class Center:
    """A center, with the words for what its children do."""

    def __init__(self, server) -> None:
        self.node = server.node
        self.http = httpx.Client(base_url=server.address, timeout=20)

    def join(self, name: str, **wishes: object) -> str:
        """Lets a node in with a token made over HTTP; the token's id."""
        made = self.http.post("/v1/join-tokens", json={"name": name, **wishes}).json()
        token = JoinToken.parse(made["text"])
        assert token.fingerprint == made["fingerprint"]
        self.node.parenting.fleet.admit(Stranger(name, secrets.token_hex(32)), token.secret, journal="cd" * 16)
        return made["token"]["id"]

    def told(self, child: str, *reports: Report, counted: tuple[Counted, ...] = ()) -> None:
        self.node.parenting.told(child, Told(reports, counted))

    def get(self, path: str, **query: object):
        return self.http.get(path, params=query).raise_for_status().json()

    def names(self, **query: object) -> list[str]:
        return [node["name"] for node in self.get("/v1/nodes", **query)["nodes"]]

    def audited(self, kind: str) -> list[dict]:
        return [event["body"]["what"] for event in self.get("/v1/audit", kind=kind)["events"]]


@pytest.fixture
def center(start_api):
    made = Center(start_api(SETTINGS))
    yield made
    made.http.close()


def test_people_see_the_tree_and_choose_from_it(center: Center) -> None:
    center.join("gateway", labels={"site": "hall"})
    center.join("yard", labels={"site": "yard"})
    failing = Report("yard", pipelines=(PipelineReport("eye", "failed", problem="it is dark"),))
    center.told("gateway", Report("gateway", version="9"), Report("door", parent="gateway", labels={"role": "camera"}))
    center.told("yard", failing)
    listed = center.get("/v1/nodes")
    assert (listed["node"], center.names()) == ("center", ["door", "gateway", "yard"])
    assert listed["counts"] == {"ok": 2, "late": 0, "failing": 1, "gone": 0}
    assert center.names(where="site=hall") == ["gateway"]
    assert center.names(where="!site") == ["door"]
    assert center.names(status="failing") == ["yard"]
    first = center.get("/v1/nodes", limit=2)
    assert center.names(after=first["next_after"]) == ["yard"]
    door = center.get("/v1/nodes/door")
    assert (door["node"]["parent"], door["node"]["child"]) == ("gateway", False)
    assert center.get("/v1/nodes/gateway")["below"] == ["door"]
    yard = center.get("/v1/nodes/yard")["node"]
    assert [(reason["why"], reason["what"], reason["message"]) for reason in yard["reasons"]] == [
        ("pipeline", "eye", "it is dark")
    ]
    assert center.get("/v1/nodes/center")["node"]["status"] == "ok"
    assert center.http.get("/v1/nodes/nobody").status_code == 404
    assert center.http.get("/v1/nodes", params={"where": "a=="}).status_code == 400


def test_labels_of_any_node_below_are_changed_and_stand_in_the_audit_log(center: Center) -> None:
    center.join("gateway", labels={"site": "hall", "old": "x"})
    center.told("gateway", Report("gateway"), Report("door", parent="gateway"))
    changed = center.http.patch("/v1/nodes/gateway", json={"labels": {"floor": "2", "old": None}}).json()
    assert changed["labels"] == {"site": "hall", "floor": "2"}
    assert center.http.patch("/v1/nodes/gateway", json={"labels": {"A B": "c"}}).status_code == 400
    assert center.audited("nodes.changed")[-1] == {"node": "gateway", "labels": {"floor": "2", "old": None}}
    center.told("gateway", Report("door", parent="gateway", labels={"role": "camera", "site": "hall"}))
    changed = center.http.patch("/v1/nodes/door", json={"labels": {"role": "bell", "site": None}}).json()
    assert changed["labels"] == {"role": "bell"}
    assert center.audited("nodes.changed")[0] == {"node": "door", "labels": {"role": "bell", "site": None}}
    assert (center.names(where="role=bell"), center.names(where="site=hall")) == (["door"], ["gateway"])
    detail = center.get("/v1/nodes/door")
    assert detail["node"]["labels"] == detail["report"]["labels"] == {"role": "bell"}
    assert center.http.put("/v1/labels/role=bell/desired", json={"rules": []}).json()["nodes"] == ["door"]
    assert center.get("/v1/nodes/door/desired")["document"] == {"rules": []}
    assert center.http.patch("/v1/nodes/nobody", json={"labels": {"a": "b"}}).status_code == 404
    center.http.delete("/v1/nodes/door")
    center.told("gateway", Report("door", parent="gateway", labels={"role": "camera"}))
    assert center.get("/v1/nodes/door")["node"]["labels"] == {"role": "camera"}  # what was said here went with it


def test_a_removed_child_is_out_with_all_it_brought_and_one_further_down_is_forgotten(center: Center) -> None:
    center.join("gateway")
    key = center.node.parenting.fleet.key("gateway")
    center.told("gateway", Report("gateway"), Report("door"), Report("hall"))
    assert center.http.delete("/v1/nodes/hall").json() == {"removed": ["hall"]}
    assert center.names() == ["door", "gateway"]
    center.told("gateway", Report("hall"))
    assert center.names() == ["door", "gateway", "hall"]  # its parent brings it again
    assert center.http.delete("/v1/nodes/gateway").json() == {"removed": ["door", "gateway", "hall"]}
    assert center.names() == []
    assert center.node.parenting.fleet.is_revoked(key)
    assert center.http.delete("/v1/nodes/gateway").status_code == 404
    assert {"node": "gateway", "removed": ["door", "gateway", "hall"]} in center.audited("nodes.removed")


def test_a_join_token_is_told_once_listed_without_its_secret_and_revoked(center: Center) -> None:
    used = center.join("gateway")
    made = center.http.post("/v1/join-tokens", json={"valid_s": 60, "labels": {"site": "hall"}})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    listed = center.get("/v1/join-tokens")["tokens"]
    assert {(each["id"], each["used"]) for each in listed} == {(used, True), (made.json()["token"]["id"], False)}
    secret = JoinToken.parse(made.json()["text"])
    assert secret.text not in str(listed) + str(center.audited("join_tokens.created"))
    assert center.http.delete(f"/v1/join-tokens/{made.json()['token']['id']}").status_code == 204
    with pytest.raises(Exception, match="no such join token"):
        center.node.parenting.fleet.admit(Stranger("late", "ab" * 32), secret.secret, journal="cd" * 16)
    assert center.http.delete("/v1/join-tokens/ff").status_code == 404
    assert center.http.post("/v1/join-tokens", json={"name": "No Name"}).status_code == 400


def test_an_authority_is_put_in_the_others_place_and_it_is_told_who_has_not_followed(center: Center) -> None:
    center.join("gateway")
    before = center.get("/v1/authority")
    assert before == {"fingerprint": before["fingerprint"], "since_ns": before["since_ns"], "until_ns": 0, "behind": []}
    assert before["fingerprint"] == center.node.parenting.authority.fingerprint
    made = center.http.post("/v1/authority/successor", json={"overlap_s": 60})
    assert made.status_code == 201
    after = center.get("/v1/authority")
    assert made.json() == after
    assert after["fingerprint"] != before["fingerprint"]
    assert (after["behind"], after["until_ns"] > after["since_ns"]) == (["gateway"], True)
    assert center.audited("authority.rotated")[-1]["fingerprint"] == after["fingerprint"]
    again = center.http.post("/v1/authority/successor", json={})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    center.node.parenting.fleet.note_authorities({"gateway": after["fingerprint"], "gone": after["fingerprint"]})
    assert center.get("/v1/authority")["behind"] == []


def test_the_audit_of_the_tree_tells_where_records_are_and_when_one_is_nowhere(center: Center) -> None:
    center.join("door")
    journal = MemoryJournal(node="door", streams={"events": StreamSettings()})
    journal.append("events", [Entry("k", {"n": n}) for n in range(3)])
    batch = journal.give("events", "parent", after=0, max_bytes=10**6)
    assert batch
    center.node.journal.take([batch])
    center.told("door", Report("door"), counted=(Counted("door", Standing("door", "events", 5, 3, 2, 0)),))
    audit = center.get("/v1/journal/audit/tree")
    [line] = [line for line in audit["lines"] if line["node"] == "door"]
    assert (line["produced"], line["here"], line["pending"], line["at"]) == (5, 3, 2, {"door": 2})
    assert audit["balanced"]
    assert audit["unheard"] == []
    assert [event["body"]["n"] for event in center.get("/v1/events", node="door")["events"]] == [2, 1, 0]
    assert center.get("/v1/events", node="nobody")["events"] == []
    center.told("door", Report("door"), counted=(Counted("door", Standing("door", "events", 9, 7, 2, 0)),))
    audit = center.get("/v1/journal/audit/tree")
    assert not audit["balanced"]
    assert (audit["lines"][0]["node"], audit["lines"][0]["missing"]) == ("door", 4)


def test_a_node_that_takes_no_children_says_so(start_api) -> None:
    with httpx.Client(base_url=start_api("http: {port: 0}\n").address) as http:
        assert http.get("/v1/nodes").json()["nodes"] == []
        refused = http.post("/v1/join-tokens", json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        assert "https" in refused.json()["error"]["hint"]
