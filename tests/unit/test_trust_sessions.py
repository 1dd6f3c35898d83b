"""Sessions: cheap requests that nobody else can send, send again, or turn into others."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.errors import AccessError
from edgewise.trust import sessions
from edgewise.trust.proof import NO_BODY, Caller
from edgewise.trust.sessions import MAX_PER_NODE, SECONDS, SessionKey, Sessions

DOOR = Caller("door", "ab" * 32, "ee" * 32)
LAMP = Caller("lamp", "cd" * 32, "ee" * 32)
BODY = hashlib.sha256(b"readings").hexdigest()


class Parent:
    """Sessions of a parent that knows two children."""

    def __init__(self) -> None:
        self.keys = {each.node: each.key for each in (DOOR, LAMP)}
        self.revoked: set[str] = set()
        self.audiences = ["ee" * 32]
        self.sessions = Sessions(
            keys=self.keys.get,
            revoked=self.revoked.__contains__,
            audiences=lambda: self.audiences,
            random=random.Random(1).randbytes,
        )

    def begin(self, caller: Caller = DOOR, now: float = 0.0) -> SessionKey:
        return SessionKey(self.sessions.begin(caller, now))

    def take(
        self, header: str, *, method: str = "POST", target: str = "/r", digest: str = BODY, now: float = 1
    ) -> Caller:
        self.sessions.known(header, now)
        return self.sessions.check(header, method=method, target=target, body_digest=digest, now=now)


def sign(key: SessionKey) -> str:
    return key.sign("POST", "/r", body_digest=BODY)


def refused(take: Callable[[], object]) -> object:
    with pytest.raises(AccessError) as refusal:
        take()
    return refusal.value.facts["reason"]


def test_a_session_speaks_for_whom_it_was_begun() -> None:
    parent = Parent()
    door, lamp = parent.begin(DOOR), parent.begin(LAMP)
    assert [parent.take(sign(key)) for key in (door, lamp, door)] == [DOOR, LAMP, DOOR]


def test_a_request_is_taken_once_and_none_before_it_any_more() -> None:
    parent = Parent()
    key = parent.begin()
    first, second = sign(key), sign(key)
    assert parent.take(second) == DOOR
    assert refused(lambda: parent.take(second)) == "replayed"
    assert refused(lambda: parent.take(first)) == "replayed"


def test_a_signature_is_for_one_request() -> None:
    parent = Parent()
    key = parent.begin()
    assert refused(lambda: parent.take(sign(key), method="PUT")) == "bad_signature"
    assert refused(lambda: parent.take(sign(key), target="/r?all=1")) == "bad_signature"
    assert refused(lambda: parent.take(sign(key), digest=NO_BODY)) == "bad_signature"
    assert parent.take(sign(key)) == DOOR


def test_a_session_ends_with_its_time_its_key_and_its_node() -> None:
    parent = Parent()
    key = parent.begin()
    assert refused(lambda: parent.take(sign(key), now=SECONDS)) == "expired"
    key = parent.begin()
    parent.keys["door"] = "ef" * 32
    assert refused(lambda: parent.take(sign(key))) == "expired"
    key = parent.begin(LAMP)
    parent.revoked.add(LAMP.key)
    assert refused(lambda: parent.take(sign(key))) == "revoked"
    assert refused(lambda: Parent().take(sign(key))) == "expired"  # another process


def test_a_node_that_begins_many_ends_its_own_oldest_and_nobody_elses() -> None:
    parent = Parent()
    lamp, first = parent.begin(LAMP), parent.begin()
    others = [parent.begin() for _ in range(MAX_PER_NODE)]
    assert refused(lambda: parent.take(sign(first))) == "expired"
    assert parent.take(sign(others[0])) == DOOR
    assert parent.take(sign(lamp)) == LAMP


def test_there_is_a_bound_for_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    parent = Parent()
    keys = [parent.begin(caller) for caller in (DOOR, LAMP, DOOR, LAMP)]
    assert refused(lambda: parent.take(sign(keys[0]))) == "expired"
    assert parent.take(sign(keys[3])) == LAMP


@pytest.mark.parametrize("header", ["", ".", "..", "x.y.z", "a.-1.b", "a.1.=", "é.1.x", "a.1." + "x" * 200, "a.９.b"])
def test_what_is_no_header_is_refused(header: str) -> None:
    assert refused(lambda: Parent().take(header)) in {"malformed", "expired"}


@given(place=st.integers(0, 200), letter=st.characters(min_codepoint=33, max_codepoint=126))
def test_no_changed_header_is_taken(place: int, letter: str) -> None:
    parent = Parent()
    header = sign(parent.begin())
    place %= len(header)
    changed = header[:place] + letter + header[place + 1 :]
    if changed != header:
        assert refused(lambda: parent.take(changed)) in {"malformed", "expired", "bad_signature"}


def test_a_session_ends_with_the_authority_that_it_was_begun_with() -> None:
    parent = Parent()
    door = parent.begin(DOOR)
    parent.audiences = ["ff" * 32, "ee" * 32]
    assert parent.take(sign(door)) == DOOR
    parent.audiences = ["ff" * 32]
    assert refused(lambda: parent.take(sign(door))) == "expired"
