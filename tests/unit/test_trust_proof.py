"""Requests prove who sends them: what is sent as it was made is taken once, and nothing that was changed is."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from edgewise.errors import AccessError, BusyError, EdgewiseError, InputError
from edgewise.trust import jws
from edgewise.trust.keys import name_of
from edgewise.trust.proof import MAX_TARGET, NO_BODY, Caller, Prover, Stranger, Verifier

PARENT, BEFORE = "aa" * 32, "bb" * 32
NODE, TARGET = "cam", "/v1/link/records?stream=events"
BODY = hashlib.sha256(b"body").hexdigest()


def key(number: int = 1) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def counted() -> Callable[[int], bytes]:
    """Ids that differ, the same in every run."""
    numbers = iter(range(10**9))
    return lambda count: next(numbers).to_bytes(count, "big")


class Link:
    """A child and its parent, with what can happen between them."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        self.keys: dict[str, str] = {NODE: name_of(key())}
        self.revoked: set[str] = set()
        self.fingerprints = (PARENT,)
        self.random = counted()
        self.limits = limits
        self.restart()
        self.prover = Prover(key(), parent=PARENT, random=self.random)
        self.token = self.verifier.issue(NODE, name_of(key()), self.now)

    def restart(self) -> None:
        self.verifier = Verifier(
            key(9),
            audiences=lambda: self.fingerprints,
            secret=self.random(32),
            keys=self.keys.get,
            revoked=self.revoked.__contains__,
            **self.limits,  # type: ignore[arg-type]
        )

    def prove(self, *, method: str = "POST", target: str = TARGET, body: str = BODY) -> str:
        nonce = self.verifier.nonce(self.now)
        return self.prover.prove(method, target, nonce=nonce, body_digest=body, token=self.token)

    def check(
        self, proof: str, *, token: str = "", method: str = "POST", target: str = TARGET, body: str = BODY
    ) -> Caller:
        return self.verifier.check(
            token or self.token, proof, method=method, target=target, body_digest=body, now=self.now
        )

    def refused(self, proof: str, **more: str) -> str:
        with pytest.raises(AccessError) as caught:
            self.check(proof, **more)
        assert caught.value.hint
        return str(caught.value.facts["reason"])

    def admit(self, proof: str, body: str = NO_BODY) -> Caller:
        return self.verifier.admit(proof, method="POST", target="/token", body_digest=body, now=self.now)


def test_a_request_proves_who_sends_it() -> None:
    link = Link()
    assert link.check(link.prove()) == Caller(NODE, name_of(key()), PARENT)
    assert link.check(link.prove(method="GET", body=NO_BODY), method="GET", body=NO_BODY).node == NODE


def test_a_node_without_an_access_token_gets_one_by_its_key_alone() -> None:
    link = Link()
    nonce = link.verifier.nonce(link.now)
    proof = link.prover.prove("POST", "/token", nonce=nonce, node=NODE)
    caller = link.admit(proof)
    link.token = link.verifier.issue(caller.node, caller.key, link.now)
    assert link.check(link.prove()) == caller
    with pytest.raises(AccessError) as caught:
        link.admit(proof)
    assert caught.value.facts["reason"] == "replayed"


def test_a_node_that_joins_proves_its_key_and_no_more() -> None:
    link = Link()
    stranger = Prover(key(5), parent=PARENT, random=link.random)
    nonce = link.verifier.nonce(link.now)
    proof = stranger.prove("POST", "/join", nonce=nonce, body_digest=BODY, node="new")
    request = {"method": "POST", "target": "/join", "body_digest": BODY, "now": link.now}
    assert link.verifier.introduce(proof, **request) == Stranger("new", name_of(key(5)), PARENT)
    assert link.verifier.introduce(proof, **request).node == "new"  # its answer was lost
    with pytest.raises(AccessError) as caught:
        link.verifier.introduce(proof, **{**request, "body_digest": NO_BODY})
    assert caught.value.facts["reason"] == "wrong_body"
    with pytest.raises(AccessError) as caught:
        link.verifier.introduce(proof, **{**request, "now": link.now + 120})
    assert caught.value.facts["reason"] == "stale_nonce"
    link.revoked.add(name_of(key(5)))
    with pytest.raises(AccessError) as caught:
        link.verifier.introduce(proof, **request)
    assert caught.value.facts["reason"] == "revoked"


def test_the_head_is_proved_before_a_large_body_is_read() -> None:
    link = Link()
    begun = link.verifier.begin(link.token, link.prove(), method="POST", target=TARGET, now=link.now)
    assert begun.node == NODE
    with pytest.raises(AccessError, match="another body"):
        begun.finish(NO_BODY)
    assert begun.finish(BODY) == Caller(NODE, name_of(key()), PARENT)


@pytest.mark.parametrize(("seconds", "reason"), [(59, ""), (100, ""), (125, "stale_nonce")])
def test_a_nonce_is_taken_for_one_to_two_minutes(seconds: float, reason: str) -> None:
    link = Link()
    link.now = 1020.0  # a slot begins
    proof = link.prove()
    link.now += seconds
    if reason:
        assert link.refused(proof) == reason
    else:
        assert link.check(proof).node == NODE


def test_a_child_that_has_no_nonce_yet_is_told_to_take_the_newest() -> None:
    link = Link()
    for nonce in ("", "x", "é" * 22, "A" * 64):
        proof = link.prover.prove("POST", TARGET, nonce=nonce, body_digest=BODY, token=link.token)
        assert link.refused(proof) == "stale_nonce"


def test_an_access_token_ends_by_the_parents_clock() -> None:
    link = Link(token_s=300)
    link.now += 299
    assert link.check(link.prove()).node == NODE
    link.now += 1
    assert link.refused(link.prove()) == "expired"


def test_a_restart_ends_all_tokens_and_nonces_even_if_its_clock_begins_again() -> None:
    link = Link()
    proof = link.prove()
    link.restart()
    assert link.refused(proof) == "expired"
    link.token = link.verifier.issue(NODE, name_of(key()), link.now)
    nonce = "A" * 22
    stale = link.prover.prove("POST", TARGET, nonce=nonce, body_digest=BODY, token=link.token)
    assert link.refused(stale) == "stale_nonce"


def test_revocation_counts_from_the_next_request() -> None:
    link = Link()
    assert link.check(link.prove()).node == NODE
    link.revoked.add(name_of(key()))
    assert link.refused(link.prove()) == "revoked"
    with pytest.raises(AccessError, match="takes nothing"):
        link.admit(link.prover.prove("POST", "/token", nonce=link.verifier.nonce(link.now), node=NODE))


def test_a_key_that_was_changed_counts_no_more_from_the_next_request() -> None:
    link = Link()
    link.keys[NODE] = name_of(key(2))
    assert link.refused(link.prove()) == "wrong_key"
    link.prover = Prover(key(2), parent=PARENT, random=link.random)
    link.token = link.verifier.issue(NODE, name_of(key(2)), link.now)
    assert link.check(link.prove()).key == name_of(key(2))


def test_children_with_either_pin_are_taken_while_the_authority_changes() -> None:
    link = Link()
    link.fingerprints = (BEFORE,)
    link.prover = Prover(key(), parent=BEFORE, random=link.random)
    link.token = link.verifier.issue(NODE, name_of(key()), link.now)
    link.fingerprints = (PARENT, BEFORE)
    assert link.check(link.prove()).node == NODE
    link.prover = Prover(key(), parent=PARENT, random=link.random)  # it has followed
    assert link.check(link.prove()).node == NODE
    link.fingerprints = (PARENT,)
    assert link.refused(link.prove()) == "wrong_audience"
    link.token = link.verifier.issue(NODE, name_of(key()), link.now)
    assert link.check(link.prove()).node == NODE


def test_a_replay_is_seen_in_the_nonces_second_minute_and_forgotten_afterwards() -> None:
    link = Link()
    link.now = 1020.0
    proof = link.prove()
    link.check(proof)
    link.now += 60
    assert link.refused(proof) == "replayed"
    link.check(link.prove())
    link.now += 120
    link.check(link.prove())
    assert len(link.verifier._seen._slots) == 1


def test_one_node_cannot_use_up_what_is_there_for_all() -> None:
    link = Link(max_proofs_per_key=3)
    for _ in range(3):
        link.check(link.prove())
    with pytest.raises(BusyError):
        link.check(link.prove())
    link.keys["other"] = name_of(key(2))
    other = Prover(key(2), parent=PARENT, random=link.random)
    token = link.verifier.issue("other", name_of(key(2)), link.now)
    nonce = link.verifier.nonce(link.now)
    proof = other.prove("POST", TARGET, nonce=nonce, body_digest=BODY, token=token)
    assert link.check(proof, token=token).node == "other"
    link.now += 60
    assert link.check(link.prove()).node == NODE


def test_past_the_bound_nothing_is_taken_unremembered() -> None:
    link = Link(max_proofs=2)
    proofs = [link.prove() for _ in range(3)]
    link.check(proofs[0])
    link.check(proofs[1])
    with pytest.raises(BusyError):
        link.check(proofs[2])
    assert link.refused(proofs[0]) == "replayed"


def test_a_proof_that_is_shown_by_many_threads_at_once_is_taken_once() -> None:
    link = Link()
    proof, taken, barrier = link.prove(), [], threading.Barrier(8)

    def show() -> None:
        barrier.wait()
        try:
            taken.append(link.check(proof))
        except AccessError as error:
            assert error.facts["reason"] == "replayed"

    threads = [threading.Thread(target=show) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1


def test_a_proof_is_not_taken_again_while_its_nonce_is_just_being_forgotten() -> None:
    """One thread looked at the clock before the nonce ended, another forgot the nonce meanwhile."""
    link = Link()
    link.now = 1020.0
    proof = link.prove()
    link.check(proof)
    link.now += 120
    link.check(link.prove())
    link.now -= 61
    assert link.refused(proof) == "stale_nonce"


@pytest.mark.parametrize("target", ["", "/" + "x" * MAX_TARGET, "/ü"])
def test_a_target_that_no_request_has_is_told_before_it_is_sent(target: str) -> None:
    with pytest.raises(InputError, match="ASCII"):
        Link().prove(target=target)


def test_the_longest_target_fits() -> None:
    link = Link()
    target = "/" + "x" * (MAX_TARGET - 1)
    assert link.check(link.prove(target=target), target=target).node == NODE


def test_thumbprints_are_those_of_the_standard() -> None:
    public = key().public_key()
    assert jws.thumbprint(public.public_bytes_raw()) == OKPKey.import_key(public).thumbprint()
    example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # RFC 8037, appendix A.3
    assert jws.thumbprint(jws.decode(example)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


texts = st.text(st.characters(codec="utf-8"), max_size=60)


@given(data=st.data())
def test_nothing_that_was_changed_is_taken(data: st.DataObject) -> None:
    """Neither by a character put in another's place, nor put in, nor taken out, in the token or in the proof."""
    link = Link()
    token, proof = link.token, link.prove()
    which = data.draw(st.sampled_from(["token", "proof"]))
    text = token if which == "token" else proof
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.text(st.characters(codec="utf-8"), max_size=2))
    end = at + data.draw(st.integers(0, 2))
    changed = text[:at] + put + text[end:]
    if changed == text:
        return
    shown = {"token": token, "proof": proof, which: changed or " "}
    with pytest.raises(AccessError):
        link.check(**shown)
    assert link.check(proof).node == NODE


@example({"sub": "0"})
@given(st.dictionaries(st.sampled_from(["jti", "aud", "htm", "target", "digest", "nonce", "ath", "sub", "iat"]), texts))
def test_claims_that_were_changed_are_not_taken_though_rightly_signed(changes: dict[str, str]) -> None:
    link = Link()
    proof = link.prove()
    claims = json.loads(jws.decode(proof.split(".")[1]))
    if changes.get("jti", claims["jti"]) == claims["jti"] and set(changes) <= {"jti"}:
        return
    forged = jws.sign(key(), {**claims, **changes}, typ="edgewise-proof+jwt", embed=True)
    with pytest.raises(AccessError):
        link.check(forged)


@given(st.one_of(texts, st.lists(st.binary(max_size=40).map(jws.encode), min_size=3, max_size=3).map(".".join)))
def test_anything_else_is_refused_and_never_a_defect(text: str) -> None:
    link = Link()
    for attempt in (
        lambda: link.check(text),
        lambda: link.check(link.prove(), token=text or " "),
        lambda: link.admit(text),
    ):
        with pytest.raises(AccessError):
            attempt()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    )
)
def test_a_header_of_any_json_is_refused_and_never_a_defect(header: object) -> None:
    link = Link()
    first, *rest = link.prove().split(".")
    text = ".".join([jws.encode(json.dumps(header).encode()), *rest])
    assert text != first
    with pytest.raises(EdgewiseError):
        link.check(text)
