"""A child knows its parent by a fingerprint, whatever its clock says; real handshakes over loopback."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgewise.errors import AccessError, ConflictError, CorruptError, InputError, SettingsError, UnavailableError
from edgewise.trust import authority as authorities
from edgewise.trust.authority import Authority
from edgewise.trust.floor import RELEASED_S, TimeFloor
from edgewise.trust.pinning import Pin, asking_context, fingerprint_of, pin, translate

DAY_S = 86400
NAMES = ["hub.local", "127.0.0.1"]


def at(year: int, month: int = 1, day: int = 1) -> int:
    """A moment, in nanoseconds."""
    return int(datetime.datetime(year, month, day, tzinfo=datetime.UTC).timestamp()) * 10**9


NOW = at(2026, 11, 30)


class Server:
    """Answers each connection with what it was sent, and notes that."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:  # stopped
                return
            plain.settimeout(20)
            with plain, suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secured:
                if said := secured.recv(64):
                    self.heard.append(said)
                    secured.sendall(said)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._socket.close()


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[Server]:
    server = Server(context)
    try:
        yield server
    finally:
        server.stop()


def say(port: int, context: ssl.SSLContext, words: bytes = b"secret") -> bytes:
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    with plain, context.wrap_socket(plain) as secured:
        secured.sendall(words)
        return secured.recv(64)


def refused(port: int, context: ssl.SSLContext) -> str:
    """Why a client does not connect."""
    with pytest.raises(ssl.SSLError) as caught:
        say(port, context)
    meant = translate(caught.value)
    return str(meant.facts.get("reason", meant.code))


def pinned(authority: Authority) -> Pin:
    return pin(authority.pem, authority.fingerprint)


def leaf(authority: Authority, when: int = NOW) -> x509.Certificate:
    return x509.load_pem_x509_certificates(authority.issue(NAMES, when).path.read_bytes())[0]


def test_a_child_that_has_only_the_fingerprint_finds_its_parent(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    with serving(authority.context(NAMES, NOW)) as server:
        assert say(server.port, asking_context(), b"which authority?") == b"which authority?"
        known = pin(authority.pem, authority.fingerprint)
        assert say(server.port, known.context(TimeFloor())) == b"secret"


def test_a_forged_parent_hears_nothing_secret(tmp_path: Path) -> None:
    """Its certificates have the same names, and it answers the first question with its own authority."""
    real, forged = Authority(tmp_path / "real", time_ns=NOW), Authority(tmp_path / "forged", time_ns=NOW)
    with pytest.raises(AccessError) as caught:
        pin(forged.pem, real.fingerprint)
    assert caught.value.facts["reason"] == "wrong_fingerprint"
    with serving(forged.context(NAMES, NOW)) as server:
        assert refused(server.port, pinned(real).context(TimeFloor())) == "wrong_fingerprint"
        assert server.heard == []


def test_a_certificate_around_the_right_key_that_the_key_did_not_sign_is_not_pinned(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    certificate = x509.load_pem_x509_certificate(authority.pem.encode())
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = x509.CertificateBuilder(
        certificate.subject,
        certificate.subject,
        certificate.public_key(),
        7,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    ).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    made = forged.sign(stranger, hashes.SHA256())
    assert fingerprint_of(made) == authority.fingerprint
    with pytest.raises(AccessError, match="not the one that was pinned"):
        pin(made.public_bytes(serialization.Encoding.PEM).decode(), authority.fingerprint)


def test_a_certificate_that_is_no_authoritys_is_not_pinned() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, start, start.replace(year=2046))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = builder.sign(key, hashes.SHA256())
    with pytest.raises(AccessError, match="not the one that was pinned"):
        pin(made.public_bytes(serialization.Encoding.PEM).decode(), fingerprint_of(made))


@pytest.mark.parametrize(("pem", "reason"), [("", "malformed"), ("x" * 20_000, "oversize"), ("\udcff", "malformed")])
def test_what_is_no_certificate_is_not_pinned(pem: str, reason: str) -> None:
    with pytest.raises(AccessError) as caught:
        pin(pem, "a" * 64)
    assert caught.value.facts["reason"] == reason


@pytest.mark.parametrize("year", [1970, 2029, 2090])
def test_a_device_connects_however_far_its_clock_is_from_its_parents(year: int, tmp_path: Path) -> None:
    """The parent's clock is set instead of the machine's: what counts is how far they are apart."""
    authority = Authority(tmp_path, time_ns=at(year))
    with serving(authority.context(NAMES, at(year))) as server:
        assert say(server.port, pinned(authority).context(TimeFloor())) == b"secret"


def test_a_certificate_that_ended_before_a_proved_time_is_refused_whatever_the_clock_says(tmp_path: Path) -> None:
    authority, floor = Authority(tmp_path, time_ns=NOW), TimeFloor()
    stolen = authority.context(NAMES, NOW)
    renewed = leaf(authority, NOW + 200 * DAY_S * 10**9)
    with serving(stolen) as server:
        assert say(server.port, pinned(authority).context(floor)) == b"secret"
        floor.accept(renewed)
        assert refused(server.port, pinned(authority).context(floor)) == "expired"
        assert server.heard == [b"secret"]


def test_the_dates_are_checked_on_connections_of_asyncio_as_well(tmp_path: Path) -> None:
    authority, floor = Authority(tmp_path, time_ns=NOW), TimeFloor()
    server, client = authority.context(NAMES, NOW), pinned(authority).context(floor)
    assert shake(client, server)
    floor.accept(leaf(authority, NOW + 200 * DAY_S * 10**9))
    with pytest.raises(ssl.SSLCertVerificationError, match="ended before"):
        shake(client, server)


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """A handshake in memory, as asyncio does it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours, theirs = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.version() == "TLSv1.3"


def test_the_floor_grows_by_what_the_parent_states_but_not_past_its_certificate(tmp_path: Path) -> None:
    """A parent whose clock once jumped ahead does not lock its children out."""
    authority, floor = Authority(tmp_path, time_ns=NOW), TimeFloor()
    floor.hear(at(2090) / 1e9)
    assert floor.time_s == RELEASED_S  # nobody has proved anything so far
    certificate = leaf(authority)
    floor.accept(certificate)
    assert floor.time_s == NOW // 10**9 - 3600
    floor.hear(NOW / 1e9 + 60)
    assert floor.time_s == NOW // 10**9 + 60
    floor.hear(NOW / 1e9 - DAY_S)
    assert floor.time_s == NOW // 10**9 + 60
    floor.hear(at(2090) / 1e9)
    assert floor.time_s == int(certificate.not_valid_after_utc.timestamp())
    floor.accept(certificate)


@pytest.mark.parametrize("rotated", [False, True])
def test_a_parent_whose_clock_was_years_ahead_is_taken_after_it_was_set_right(tmp_path: Path, rotated: bool) -> None:
    authority, floor = Authority(tmp_path, time_ns=NOW), TimeFloor()
    floor.accept(leaf(authority, at(2040)))
    if rotated:
        authority.rotate(NOW)
    floor.accept(leaf(authority, NOW))
    assert leaf(authority, NOW).not_valid_before_utc.timestamp() < NOW / 1e9  # browsers take it as well


def test_a_clock_that_is_past_the_authoritys_end_does_not_stop_the_server(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    with serving(authority.context(NAMES, at(2090))) as server:
        assert say(server.port, pinned(authority).context(TimeFloor())) == b"secret"
    assert leaf(authority, at(2090)).not_valid_after_utc.year < 2050


def test_a_floor_is_found_again_after_a_restart(tmp_path: Path) -> None:
    floor = TimeFloor(tmp_path / "floor")
    floor.accept(leaf(Authority(tmp_path, time_ns=NOW)))
    floor.save()
    again = TimeFloor(tmp_path / "floor")
    assert again.time_s == floor.time_s > RELEASED_S


def test_a_flash_card_is_not_written_for_every_answer(tmp_path: Path) -> None:
    floor = TimeFloor(tmp_path / "floor")
    floor.accept(leaf(Authority(tmp_path, time_ns=NOW)))
    floor.save()
    before = (tmp_path / "floor").read_bytes()
    floor.hear(floor.time_s + 3599)
    floor.save()
    assert (tmp_path / "floor").read_bytes() == before
    floor.hear(floor.time_s + 1)
    floor.save()
    assert (tmp_path / "floor").read_bytes() != before


@pytest.mark.parametrize("content", ["", "soon", "-1", "1.5"])
def test_a_floor_that_cannot_be_read_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "floor").write_text(content)
    with pytest.raises(CorruptError, match="holds no time"):
        TimeFloor(tmp_path / "floor")


def test_a_server_that_speaks_only_tls_1_2_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    weak = authority.context(NAMES, NOW)
    weak.minimum_version = weak.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(weak) as server:
        assert refused(server.port, pinned(authority).context(TimeFloor())) == "weak_tls"
        assert server.heard == []


def test_a_client_that_speaks_only_tls_1_2_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    weak = asking_context()
    weak.minimum_version = weak.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(authority.context(NAMES, NOW)) as server:
        assert refused(server.port, weak) == "weak_tls"
        assert server.heard == []


def test_a_connection_that_breaks_off_may_be_tried_again() -> None:
    assert isinstance(translate(ssl.SSLError(1, "[SSL: INTERNAL] who knows")), UnavailableError)


def test_children_with_the_old_pin_and_the_new_one_connect_during_the_overlap(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    old = pinned(authority)
    context = authority.context(NAMES, NOW)
    statement = authority.rotate(NOW)
    authority.refresh(context, NAMES, NOW)
    assert authority.successor == statement
    new = old.follow(statement)
    assert new == pinned(authority)
    assert new.fingerprint != old.fingerprint
    assert authority.fingerprints == (new.fingerprint, old.fingerprint)
    assert pin(authority.pem, old.fingerprint) == old  # a join token from before
    with serving(context) as server:
        assert say(server.port, old.context(TimeFloor())) == b"secret"
        assert say(server.port, new.context(TimeFloor())) == b"secret"


def test_after_the_overlap_only_the_new_pin_counts(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    old = pinned(authority)
    authority.rotate(NOW)
    context, later = authority.context(NAMES, NOW), NOW + 31 * DAY_S * 10**9
    authority.refresh(context, NAMES, later)
    assert authority.successor == ""
    assert authority.fingerprints == (authority.fingerprint,)
    with serving(context) as server:
        assert refused(server.port, old.context(TimeFloor())) == "wrong_fingerprint"
        assert say(server.port, pinned(authority).context(TimeFloor())) == b"secret"


def test_a_clock_that_jumps_ahead_and_back_does_not_end_an_overlap(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    statement = authority.rotate(NOW)
    authority.issue(NAMES, at(2045))
    assert authority.successor == ""
    authority.issue(NAMES, NOW)
    assert authority.successor == statement
    assert Authority(tmp_path, time_ns=NOW).successor == statement


def test_nobody_else_can_name_a_successor(tmp_path: Path) -> None:
    real, other = Authority(tmp_path / "real", time_ns=NOW), Authority(tmp_path / "other", time_ns=NOW)
    known, foreign = pinned(real), pinned(other)
    statement = other.rotate(NOW)
    with pytest.raises(AccessError) as caught:
        known.follow(statement)
    assert caught.value.facts["reason"] == "wrong_fingerprint"
    with pytest.raises(AccessError) as caught:  # it claims to be the real one
        Pin(foreign.fingerprint, known.pem).follow(statement)
    assert caught.value.facts["reason"] == "bad_signature"


def test_one_rotation_at_a_time(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    authority.rotate(NOW)
    with pytest.raises(ConflictError, match="still following"):
        authority.rotate(NOW + DAY_S * 10**9)
    authority.rotate(NOW + 31 * DAY_S * 10**9)


def test_what_a_command_beside_the_server_rotated_counts_from_its_next_refresh(tmp_path: Path) -> None:
    server, command = Authority(tmp_path, time_ns=NOW), Authority(tmp_path, time_ns=NOW)
    old, context = pinned(server), server.context(NAMES, NOW)
    assert not server.stale
    statement = command.rotate(NOW)
    assert server.stale
    assert (server.fingerprint, server.successor) == (old.fingerprint, "")
    server.refresh(context, NAMES, NOW)
    assert not server.stale
    assert (server.fingerprints, server.successor) == (command.fingerprints, statement)
    with serving(context) as running:
        assert say(running.port, pinned(command).context(TimeFloor())) == b"secret"
    with pytest.raises(ConflictError, match="still following"):
        server.rotate(NOW)


def test_of_two_rotations_at_once_one_is_refused(tmp_path: Path) -> None:
    ones = [Authority(tmp_path, time_ns=NOW) for _ in range(8)]
    begun = threading.Barrier(len(ones))
    made: list[str] = []

    def rotate(authority: Authority) -> None:
        begun.wait()
        with suppress(ConflictError):
            made.append(authority.rotate(NOW))

    threads = [threading.Thread(target=rotate, args=(each,)) for each in ones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [Authority(tmp_path, time_ns=NOW).successor]


def test_an_authority_that_cannot_be_read_any_more_goes_on_as_it_was(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    before, context = authority.fingerprint, authority.context(NAMES, NOW)
    (tmp_path / "authority.json").write_text("{}")
    with pytest.raises(CorruptError):
        authority.refresh(context, NAMES, NOW)
    assert authority.fingerprint == before
    (tmp_path / "authority.json").unlink()
    with pytest.raises(SettingsError):
        authority.refresh(context, NAMES, NOW)
    with serving(context) as running:
        assert say(running.port, pinned(authority).context(TimeFloor())) == b"secret"


@pytest.mark.parametrize("overlap_s", [-1, 10**9])
def test_an_overlap_that_cannot_be_is_refused(tmp_path: Path, overlap_s: int) -> None:
    with pytest.raises(InputError):
        Authority(tmp_path, time_ns=NOW).rotate(NOW, overlap_s=overlap_s)


def test_the_key_that_was_followed_is_gone(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    key = json.loads((tmp_path / "authority.json").read_text())["key"]
    authority.rotate(NOW)
    assert not any(key.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_an_authority_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first = Authority(tmp_path, time_ns=NOW)
    certificate = first.issue(NAMES, NOW)
    again = Authority(tmp_path, time_ns=NOW + DAY_S * 10**9)
    assert (again.fingerprint, again.pem) == (first.fingerprint, first.pem)
    assert again.issue(reversed(NAMES), NOW + DAY_S * 10**9) == certificate
    assert (tmp_path / "authority.json").stat().st_mode & 0o777 == 0o600
    assert certificate.path.stat().st_mode & 0o777 == 0o600


def test_an_authority_lasts_more_than_ten_years_and_a_certificate_ninety_days(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    root = x509.load_pem_x509_certificate(authority.pem.encode())
    assert root.not_valid_after_utc.timestamp() > NOW / 1e9 + 10 * 365 * DAY_S
    certificate = authority.issue(NAMES, NOW)
    assert certificate.end_s == NOW // 10**9 + 90 * DAY_S
    assert certificate.names == ("127.0.0.1", "hub.local")


def test_a_certificate_is_renewed_when_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    context, first = authority.context(NAMES, NOW), authority.issue(NAMES, NOW)
    assert authority.refresh(context, NAMES, NOW + 59 * DAY_S * 10**9) == first
    assert authority.refresh(context, NAMES, NOW + 61 * DAY_S * 10**9).end_s == NOW // 10**9 + 151 * DAY_S
    fresh = leaf(authority, NOW + 61 * DAY_S * 10**9)
    with serving(context) as server:
        seen = ssl.get_server_certificate(("127.0.0.1", server.port))
    assert x509.load_pem_x509_certificate(seen.encode()) == fresh


def test_a_certificate_is_renewed_when_the_names_change(tmp_path: Path) -> None:
    authority = Authority(tmp_path, time_ns=NOW)
    first = authority.issue(["hub.local"], NOW)
    second = authority.issue(["HUB.local", "2001:db8::1"], NOW)
    assert (first.names, second.names) == (("hub.local",), ("2001:db8::1", "hub.local"))


@pytest.mark.parametrize(
    "names", [[], ["*.local"], ["hub:443"], ["hub local"], ["hüb"], ["a" * 64], [f"h{n}" for n in range(65)]]
)
def test_names_that_no_server_has_are_refused(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Authority(tmp_path, time_ns=NOW).issue(names, NOW)


def test_an_authority_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    Authority(tmp_path, time_ns=NOW)
    (tmp_path / "authority.json").chmod(0o644)
    with pytest.raises(SettingsError, match="others can read"):
        Authority(tmp_path, time_ns=NOW)


@pytest.mark.parametrize("content", ["", "{}", '{"key":"x","certificate":"y"}'])
def test_a_damaged_authority_is_not_replaced_by_another(content: str, tmp_path: Path) -> None:
    """Its children would be locked out."""
    Authority(tmp_path, time_ns=NOW)
    (tmp_path / "authority.json").write_text(content)
    with pytest.raises(CorruptError, match="holds no authority"):
        Authority(tmp_path, time_ns=NOW)


def test_a_crash_while_it_is_made_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    authority = Authority(tmp_path, time_ns=NOW)
    before = authority.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(authorities, "write_atomic", fail)
        with pytest.raises(OSError, match="Input"):
            authority.rotate(NOW)
    assert authority.fingerprint == before == Authority(tmp_path, time_ns=NOW).fingerprint
    assert pinned(authority).fingerprint == before
