"""What an attacker would try, each with the exact reason why it fails.

The attacker reads everything that is sent, has keys of its own, and may even be a node or a parent itself; it has not
the child's key nor the parent's. Forged parents and weak TLS are tried in real handshakes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewise.errors import AccessError
from edgewise.trust import jws
from edgewise.trust.authority import Authority
from edgewise.trust.floor import TimeFloor
from edgewise.trust.joining import invite, redeem
from edgewise.trust.keys import name_of
from edgewise.trust.pinning import fingerprint_of, pin, translate
from edgewise.trust.proof import NO_BODY, Caller, Prover, Verifier
from edgewise.trust.subtree import Tree, check_speaks

HERE, ELSEWHERE = "aa" * 32, "bb" * 32
TARGET = "/v1/link/records?stream=events"
BODY = hashlib.sha256(b"body").hexdigest()
NOW_NS = 1_796_000_000 * 10**9
VICTIM, ATTACKER, PARENT, OTHER_PARENT = (Ed25519PrivateKey.generate() for _ in range(4))
PROOF, ACCESS = "edgewise-proof+jwt", "at+jwt"


def parent(key: Ed25519PrivateKey = PARENT, fingerprint: str = HERE) -> Verifier:
    known = {"victim": name_of(VICTIM), "attacker": name_of(ATTACKER)}
    return Verifier(
        key,
        audiences=lambda: (fingerprint,),
        secret=secrets.token_bytes(32),
        keys=known.get,
        revoked=lambda _: False,
    )


class Scene:
    """The parent, an access token of each of its two children, and one request that the victim makes."""

    now = 5000.0

    def __init__(self) -> None:
        self.parent = parent()
        self.token = self.parent.issue("victim", name_of(VICTIM), self.now)
        self.attackers_token = self.parent.issue("attacker", name_of(ATTACKER), self.now)
        self.proof = self.prove()

    def prove(self, key: Ed25519PrivateKey = VICTIM, *, audience: str = HERE, token: str | None = None) -> str:
        prover = Prover(key, parent=audience, random=secrets.token_bytes)
        nonce = self.parent.nonce(self.now)
        return prover.prove("POST", TARGET, nonce=nonce, body_digest=BODY, token=self.token if token is None else token)

    def claims(self, text: str) -> dict[str, Any]:
        return dict(json.loads(jws.decode(text.split(".")[1])))

    def send(self, **more: str) -> Caller:
        request = {"method": "POST", "target": TARGET, "body_digest": BODY, **more}
        token, proof = request.pop("token", self.token), request.pop("proof", self.proof)
        return self.parent.check(token, proof, now=self.now, **request)


def refused(attempt: Callable[..., object], **more: Any) -> str:
    with pytest.raises(AccessError) as caught:
        attempt(**more)
    return str(caught.value.facts["reason"])


def with_header(text: str, **fields: object) -> str:
    first, *rest = text.split(".")
    header = {**json.loads(jws.decode(first)), **fields}
    return ".".join([jws.encode(json.dumps(header).encode()), *rest])


def jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": jws.encode(key.public_key().public_bytes_raw())}


def test_the_request_itself_is_taken() -> None:
    assert Scene().send() == Caller("victim", name_of(VICTIM), HERE)


def test_a_stolen_token_is_worth_nothing_without_its_key() -> None:
    scene = Scene()
    assert refused(scene.send, proof=scene.prove(ATTACKER)) == "wrong_key"
    assert refused(scene.send, proof=with_header(scene.prove(ATTACKER), jwk=jwk(VICTIM))) == "bad_signature"
    assert refused(scene.send, proof=with_header(scene.proof, jwk=jwk(ATTACKER))) == "wrong_key"


def test_a_token_of_another_node_does_not_go_with_the_victims_proof() -> None:
    scene = Scene()
    assert refused(scene.send, token=scene.attackers_token) == "wrong_key"
    newer = scene.parent.issue("victim", name_of(VICTIM), scene.now + 1)
    assert refused(scene.send, token=newer) == "wrong_token"


def test_a_token_that_the_attacker_signed_itself_is_refused() -> None:
    scene = Scene()
    claims = {**scene.claims(scene.token), "cnf": {"jkt": jws.thumbprint(ATTACKER.public_key().public_bytes_raw())}}
    forged = jws.sign(ATTACKER, claims, typ=ACCESS)
    assert refused(scene.send, token=forged, proof=scene.prove(ATTACKER, token=forged)) == "bad_signature"


def test_a_token_of_a_node_that_was_changed_to_the_victims_name_is_refused() -> None:
    scene = Scene()
    head, _, signature = scene.attackers_token.split(".")
    claims = json.dumps({**scene.claims(scene.attackers_token), "sub": "victim"}).encode()
    forged = f"{head}.{jws.encode(claims)}.{signature}"
    assert refused(scene.send, token=forged, proof=scene.prove(ATTACKER, token=forged)) == "bad_signature"


def test_another_nodes_name_is_not_given_to_the_attackers_key() -> None:
    scene = Scene()
    prover = Prover(ATTACKER, parent=HERE, random=secrets.token_bytes)
    request: dict[str, Any] = {"method": "POST", "target": "/token", "body_digest": NO_BODY, "now": scene.now}
    nonce = scene.parent.nonce(scene.now)
    for name in ("victim", "nobody"):  # the same answer: names cannot be found out by trying
        proof = prover.prove("POST", "/token", nonce=nonce, node=name)
        assert refused(scene.parent.admit, proof=proof, **request) == "wrong_key"


def test_an_expired_token_is_refused() -> None:
    scene = Scene()
    scene.now += 300
    assert refused(scene.send, proof=scene.prove()) == "expired"


def test_a_replayed_proof_is_refused_at_once_and_for_ever() -> None:
    scene = Scene()
    scene.send()
    assert refused(scene.send) == "replayed"
    scene.now += 59
    assert refused(scene.send) == "replayed"
    scene.now += 61
    assert refused(scene.send) == "stale_nonce"


def test_a_proof_for_another_request_is_refused() -> None:
    scene = Scene()
    assert refused(scene.send, target="/v1/link/records?stream=balances") == "wrong_target"
    assert refused(scene.send, target=TARGET.split("?")[0]) == "wrong_target"
    assert refused(scene.send, target=TARGET.replace("r", "%72", 1)) == "wrong_target"
    assert refused(scene.send, method="DELETE") == "wrong_target"
    assert refused(Scene().send, body_digest=NO_BODY) == "wrong_body"


def test_a_proof_of_another_request_without_a_token_cannot_be_used_as_one_with_a_token() -> None:
    scene = Scene()
    assert refused(scene.send, proof=scene.prove(token="")) == "wrong_token"
    request: dict[str, Any] = {"method": "POST", "target": TARGET, "body_digest": BODY, "now": scene.now}
    assert refused(scene.parent.admit, proof=scene.proof, **request) == "malformed"
    both = {**scene.claims(scene.proof), "sub": "victim"}
    assert refused(scene.parent.admit, proof=jws.sign(VICTIM, both, typ=PROOF, embed=True), **request) == "malformed"


def test_another_parents_token_is_refused_even_if_it_claims_to_be_ours() -> None:
    scene = Scene()
    elsewhere = parent(OTHER_PARENT, ELSEWHERE).issue("victim", name_of(VICTIM), scene.now)
    assert refused(scene.send, token=elsewhere, proof=scene.prove(token=elsewhere)) == "wrong_audience"
    claiming = parent(OTHER_PARENT, HERE).issue("victim", name_of(VICTIM), scene.now)
    assert refused(scene.send, token=claiming, proof=scene.prove(token=claiming)) == "bad_signature"


def test_a_bad_parent_cannot_pass_its_childs_proofs_on() -> None:
    """It hands the child our nonce and our token as its own; the child names whom its connection is pinned to."""
    scene = Scene()
    assert refused(scene.send, proof=scene.prove(audience=ELSEWHERE)) == "wrong_audience"


def test_no_algorithm_is_taken_but_the_one() -> None:
    scene = Scene()
    head, claims, _ = scene.proof.split(".")
    for name in ("none", "None", "", "EdDSA", "HS256", "Ed448", 7, None, ["Ed25519"]):
        assert refused(scene.send, proof=with_header(scene.proof, alg=name)) == "malformed"
        assert refused(scene.send, token=with_header(scene.token, alg=name)) == "malformed"
    unsigned = with_header(scene.proof, alg="Ed25519").rsplit(".", 1)[0] + "."
    assert refused(scene.send, proof=unsigned) == "bad_signature"
    assert refused(scene.send, proof=with_header(scene.proof, alg="ES256")) == "bad_signature"
    public = VICTIM.public_key().public_bytes_raw()
    confused = jws.encode(json.dumps({"alg": "HS256", "typ": PROOF, "jwk": jwk(VICTIM)}).encode())
    mac = jws.encode(hmac.digest(public, f"{confused}.{claims}".encode(), "sha256"))
    assert refused(scene.send, proof=f"{confused}.{claims}.{mac}") == "malformed"
    assert head != confused


def test_no_field_of_a_header_is_obeyed() -> None:
    scene = Scene()
    for field, value in (
        ("crit", ["b64"]),
        ("b64", False),
        ("kid", "victim"),
        ("jku", "https://attacker/keys"),
        ("x5u", "https://attacker/certificate"),
        ("typ", ACCESS),
        ("jwk", None),
        ("jwk", {"kty": "oct", "k": "AA"}),
        ("jwk", {**jwk(VICTIM), "d": "AA"}),
        ("jwk", {**jwk(VICTIM), "x": "AA"}),
    ):
        assert refused(scene.send, proof=with_header(scene.proof, **{field: value})) == "malformed"


def test_one_kind_of_statement_is_not_taken_for_another() -> None:
    scene = Scene()
    assert refused(scene.send, proof=scene.token) == "malformed"
    assert refused(scene.send, token=scene.proof) == "malformed"
    assert refused(scene.send, token=jws.sign(PARENT, scene.claims(scene.token), typ="JWT")) == "malformed"


def test_there_is_one_spelling_of_each_statement() -> None:
    scene = Scene()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = alphabet[alphabet.index(scene.proof[-1]) + 1]  # the last character of 64 bytes has four idle bits
    assert scene.proof[-1] in "AQgw"
    for proof in (
        scene.proof[:-1] + respelled,
        scene.proof + "=",
        scene.proof + "==",
        scene.proof + "\n",
        " " + scene.proof,
        scene.proof + "\u200b",
        scene.proof.replace(".", "．", 1),
        scene.proof.replace(".", "..", 1),
        scene.proof + ".",
        scene.proof[0].upper() + "\u0301" + scene.proof[1:],
        "\ud800" + scene.proof,
    ):
        assert refused(scene.send, proof=proof) == "malformed"
    assert scene.send().node == "victim"


def test_nothing_oversize_is_looked_at() -> None:
    scene = Scene()
    assert refused(scene.send, proof="a" * 4097) == "oversize"
    assert refused(scene.send, token="a" * 1025) == "oversize"
    assert refused(scene.send, proof=scene.proof + "." * 10_000_000) == "oversize"


def test_what_is_missing_or_malformed_is_told() -> None:
    scene = Scene()
    assert refused(scene.send, proof="") == "missing"
    assert refused(scene.send, token="") == "missing"
    nested = jws.encode(b"[" * 1500)
    for text in ("a", "a.b", "a.b.c", "..", "e30.e30.e30", f"{nested}.e30.", "\x00.\x00.\x00", "ü.ü.ü"):
        assert refused(scene.send, proof=text) == "malformed"
    for claims in ({}, [], "x", {**scene.claims(scene.proof), "htm": 7}, {**scene.claims(scene.proof), "iat": 7}):
        assert refused(scene.send, proof=jws.sign(VICTIM, claims, typ=PROOF, embed=True)) == "malformed"


def test_other_subtrees_are_not_spoken_for() -> None:
    tree = Tree("hub")
    tree.join("victim")
    tree.join("attacker")
    tree.announce("victim", "lock")
    for node in ("victim", "lock", "hub", "unheard-of"):
        assert refused(check_speaks, caller="attacker", node=node, tree=tree) == "other_subtree"
    for node in ("victim", "lock", "hub"):
        assert refused(tree.announce, child="attacker", node=node) == "other_subtree"
    assert refused(tree.release, child="attacker", node="lock") == "other_subtree"


def test_a_join_token_is_not_guessed_not_used_twice_and_not_kept() -> None:
    token, stored = invite(HERE, random=secrets.token_bytes, time_ns=NOW_NS)
    first: dict[str, Any] = {"node": "victim", "key": name_of(VICTIM), "time_ns": NOW_NS}
    thief: dict[str, Any] = {"node": "attacker", "key": name_of(ATTACKER), "time_ns": NOW_NS}
    assert refused(redeem, stored=None, secret=secrets.token_bytes(16), **thief) == "unknown"
    assert refused(redeem, stored=stored, secret=bytes.fromhex(stored.digest), **thief) == "unknown"
    used = redeem(stored, token.secret, **first)
    assert refused(redeem, stored=used, secret=token.secret, **thief) == "used"
    late = {**thief, "time_ns": stored.expires_ns}
    assert refused(redeem, stored=stored, secret=token.secret, **late) == "expired"


def met(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[str, bytes]:
    """Why a client does not say its secret to a server, and what the server heard."""
    ours, theirs = socket_pair()
    heard = b""

    def serve() -> None:
        nonlocal heard
        try:
            with server.wrap_socket(theirs, server_side=True) as secured:
                heard = secured.recv(64)
        except OSError:  # the client refused
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours) as secured:
            secured.sendall(b"secret")
            reason = ""
    except ssl.SSLError as error:
        ours.close()
        reason = str(translate(error).facts["reason"])
    thread.join(20)
    return reason, heard


def socket_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname(), timeout=20)
        theirs, _ = listening.accept()
        theirs.settimeout(20)
    return ours, theirs


@pytest.fixture
def real(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "real", time_ns=NOW_NS)


def test_a_forged_parent_hears_no_secret(real: Authority, tmp_path: Path) -> None:
    forged = Authority(tmp_path / "forged", time_ns=NOW_NS)
    client = pin(real.pem, real.fingerprint).context(TimeFloor())
    assert met(client, real.context(["hub"], NOW_NS)) == ("", b"secret")
    assert met(client, forged.context(["hub"], NOW_NS)) == ("wrong_fingerprint", b"")
    assert refused(pin, pem=forged.pem, fingerprint=real.fingerprint) == "wrong_fingerprint"


def test_a_server_certificate_is_no_authority(real: Authority, tmp_path: Path) -> None:
    """Whoever steals a server's key cannot sign with it, and its certificate is not pinned."""
    certificate = real.issue(["hub"], NOW_NS).path.read_text().split("-----END PRIVATE KEY-----\n")[1]
    assert refused(pin, pem=certificate.partition("-----END CERTIFICATE-----")[0], fingerprint="0" * 64) == "malformed"
    leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
    assert refused(pin, pem=certificate, fingerprint=fingerprint_of(leaf)) == "wrong_fingerprint"


def test_a_downgraded_connection_is_refused(real: Authority) -> None:
    client, weak = pin(real.pem, real.fingerprint).context(TimeFloor()), real.context(["hub"], NOW_NS)
    weak.minimum_version = weak.maximum_version = ssl.TLSVersion.TLSv1_2
    assert met(client, weak) == ("weak_tls", b"")


def test_a_stolen_certificate_is_refused_after_its_time_whatever_the_clock_says(real: Authority) -> None:
    floor = TimeFloor()
    stolen = real.context(["hub"], NOW_NS)
    client = pin(real.pem, real.fingerprint).context(floor)
    later = NOW_NS + 200 * 86400 * 10**9
    assert met(client, real.context(["hub"], later)) == ("", b"secret")
    assert met(client, stolen) == ("expired", b"")
