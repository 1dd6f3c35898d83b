"""The parent's own certificate authority: what its children pin, and browsers may be told to trust.

ECDSA on P-256, since browsers take no Ed25519. One file holds its key and certificate, and during a change what is left
of the authority before; so a crash leaves the one state or the other. A second file holds the server's key and
certificate in the form that servers load.

**Dates.** Certificates go by the parent's wall clock, which may be wrong as well. No date here is earlier than the
first release; the authority's own end is decades away; and a server certificate never ends before the one that it
replaces, so that a child that has learnt a late time from the older one takes the newer one (``floor``). Nothing is
forgotten because a clock jumped ahead.

**Rotation.** The new authority signs from now on. The old one signs two things and is then destroyed: the *successor*
statement, by which a child replaces its pin, and a certificate for the new one's key. With that in the chain, children
with the old pin and children with the new one take the same server certificate. After the overlap the chain ends at
the new authority alone, and who did not follow has to join again.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgewise._lib.files import held, write_atomic
from edgewise.errors import ConflictError, CorruptError, InputError, SettingsError
from edgewise.trust import jws
from edgewise.trust.floor import RELEASED_S
from edgewise.trust.pinning import SUCCESSOR_TYP, Successor, fingerprint_of

MAX_NAMES = 64
OVERLAP_S = 30 * 86400
MAX_OVERLAP_S = 10 * 365 * 86400
SERVER_VALID_S = 90 * 86400

_AUTHORITY_VALID_S = 20 * 365 * 86400
_SKEW_S = 3600  # a browser's clock may be this much behind
_FILE = "authority.json"
_SERVER_FILE = "server.pem"
_OTHERS = 0o077
_NS = 1_000_000_000
_HOST = re.compile(r"^(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_PEM = serialization.Encoding.PEM


class _Previous(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left of an authority that was followed by another: nothing secret."""

    certificate: str
    bridge: str
    successor: str
    until_s: int


class _State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    key: str
    certificate: str
    previous: _Previous | None = None


class ServerCertificate(msgspec.Struct, frozen=True):
    """What a server shows.

    Attributes:
        path: PEM: the key, the certificate, and the chain.
        names: Host names and addresses that it is for, sorted.
        start_s: Seconds since the Unix epoch.
        end_s: Likewise.
    """

    path: Path
    names: tuple[str, ...]
    start_s: int
    end_s: int


class Authority:
    """Opens the authority in a folder; makes it at the first use. One thread at a time.

    Other processes may open it as well: what ``rotate`` changed in one of them counts in the others from their next
    ``refresh``, and ``stale`` tells that it is due.

    Args:
        folder: Its own; made when missing.
        time_ns: The parent's wall clock.

    Raises:
        SettingsError: The folder cannot be used, or others on the machine can read the key.
        CorruptError: The file holds no authority.
        StorageFullError: There is no room to make it.
    """

    def __init__(self, folder: Path, *, time_ns: int) -> None:
        self._path = folder / _FILE
        self._server_path = folder / _SERVER_FILE
        try:
            if not self._path.exists():
                self._make_first(folder, _moment(time_ns))
            if self._path.stat().st_mode & _OTHERS:
                raise SettingsError(
                    f"{self._path}: others can read the authority's key", hint=f"chmod 600 {self._path}"
                )
            self._read()
            self._look_at(_moment(time_ns))
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def fingerprint(self) -> str:
        """What children pin: SHA-256 of the public key (SubjectPublicKeyInfo), hex."""
        return self.fingerprints[0]

    @property
    def pem(self) -> str:
        """The certificate, and during an overlap the one before: what anybody may ask for (``pinning.pin``)."""
        return self._state.certificate + (self._previous.certificate if self._previous else "")

    @property
    def successor(self) -> str:
        """The statement by which children follow a rotation (``Pin.follow``); empty when there is none to follow."""
        return self._previous.successor if self._previous else ""

    @property
    def since_s(self) -> int:
        """When it was made: seconds since the Unix epoch, by the parent's wall clock then."""
        return int(self._certificate.not_valid_after_utc.timestamp()) - _AUTHORITY_VALID_S

    @property
    def until_s(self) -> int:
        """How long children may follow, or could, the last rotation; 0 when there was none."""
        return self._state.previous.until_s if self._state.previous else 0

    @property
    def stale(self) -> bool:
        """Whether another process has changed it: ``refresh`` is due. Cheap enough to be asked every second."""
        try:
            return _stamp(self._path) != self._stamp
        except OSError:  # it is told when it is read
            return True

    def issue(self, names: Iterable[str], time_ns: int) -> ServerCertificate:
        """The server's certificate: the one there is, or a new one.

        A new one is made when there is none, when the names differ, when a third of its time is left, when the clock
        stands before its start, and when a rotation begins or its overlap ends. What another process rotated counts.

        Args:
            names: Host names and IP addresses under which the server is reached.
            time_ns: The parent's wall clock.

        Raises:
            InputError: No name, too many, or one that cannot be.
            StorageFullError: There is no room to keep it.
            SettingsError: The authority cannot be read any more.
            CorruptError: Its file is damaged; what was read before still counts.
        """
        wanted = _canonical(names)
        if self.stale:
            self._read_again()
        now_s = self._within(_moment(time_ns))
        self._look_at(_moment(time_ns))
        known, chain = self._known()
        if known is not None and chain == self._chain() and known.names == wanted and _fresh(known, now_s):
            return known
        return self._make(wanted, now_s, end_s=known.end_s if known else 0)

    def context(self, names: Iterable[str], time_ns: int) -> ssl.SSLContext:
        """For a server: TLS 1.3 alone. Arguments and errors as in ``issue``."""
        certificate = self.issue(names, time_ns)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate.path)
        return context

    def refresh(self, context: ssl.SSLContext, names: Iterable[str], time_ns: int) -> ServerCertificate:
        """Puts what ``issue`` gives into a running server, for new connections. To be called every hour or so.

        Args:
            context: What ``context`` returned; in the thread that accepts connections.
            names: As in ``issue``.
            time_ns: The parent's wall clock.

        Returns:
            What it shows from now on.
        """
        certificate = self.issue(names, time_ns)
        context.load_cert_chain(certificate.path)
        return certificate

    def rotate(self, time_ns: int, *, overlap_s: int = OVERLAP_S) -> str:
        """Puts a new authority in this one's place.

        Servers show it from their next ``refresh``, which has to come before a child is told of it.

        Args:
            time_ns: The parent's wall clock.
            overlap_s: How long children may take to follow.

        Returns:
            The statement by which they do.

        Raises:
            ConflictError: Children are still following the last rotation.
            InputError: The overlap is too long.
            StorageFullError: There is no room; nothing has changed.
        """
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InputError(
                "An overlap is not longer than ten years", hint="Thirty days do for most.", limit=MAX_OVERLAP_S
            )
        now_s = _moment(time_ns)
        with held(self._path.parent):
            self._read_again()
            self._look_at(now_s)
            if self._previous is not None:
                raise ConflictError(
                    "The authority was changed not long ago, and children are still following",
                    hint="Wait until the overlap has ended: edgewise authority show",
                    until_s=self._previous.until_s,
                )
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _self_signed(key, now_s)
            stated = Successor(self.fingerprint, fingerprint_of(certificate), _text(certificate))
            successor = jws.sign(self._key, stated, typ=SUCCESSOR_TYP)
            bridge = _signed_authority(certificate.subject, key.public_key(), self._certificate, self._key)
            kept = _Previous(self._state.certificate, _text(bridge), successor, now_s + overlap_s)
            self._store(_State(_pem_of(key), _text(certificate), kept))
            self._read()
        self._look_at(now_s)
        return successor

    def _make_first(self, folder: Path, now_s: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with held(folder):
            if not self._path.exists():  # another process may have been first
                key = ec.generate_private_key(ec.SECP256R1())
                self._store(_State(_pem_of(key), _text(_self_signed(key, now_s))))

    def _store(self, state: _State) -> None:
        write_atomic(self._path, msgspec.json.encode(state), mode=0o600)

    def _read_again(self) -> None:
        try:
            self._read()
        except OSError as error:
            raise self._unreadable(error) from error

    def _read(self) -> None:
        """Reads the file; when that fails, what was read before still counts."""
        stamp = _stamp(self._path)
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=_State)
            key = serialization.load_pem_private_key(state.key.encode(), password=None)
            certificate = x509.load_pem_x509_certificate(state.certificate.encode())
        except (ValueError, TypeError) as error:
            raise self._corrupt() from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise self._corrupt()
        self._stamp, self._state, self._key, self._certificate = stamp, state, key, certificate

    def _look_at(self, now_s: int) -> None:
        """Settles whether there is an overlap now."""
        previous = self._state.previous
        self._previous = previous if previous is not None and now_s < previous.until_s else None
        certificates = [self._state.certificate, *([self._previous.certificate] if self._previous else [])]
        self.fingerprints = tuple(
            fingerprint_of(x509.load_pem_x509_certificate(each.encode())) for each in certificates
        )
        """The newest first; during an overlap the one before as well."""

    def _unreadable(self, error: OSError) -> SettingsError:
        return SettingsError(
            f"{self._path}: the authority cannot be read: {error.strerror}", hint="Check the path and its permissions."
        )

    def _corrupt(self) -> CorruptError:
        return CorruptError(f"{self._path} holds no authority", hint="Put it back from a copy.", file=str(self._path))

    def _within(self, time_s: int) -> int:
        """A time at which the authority can still sign, so that a clock set far ahead does not stop the server."""
        end_s = int(self._certificate.not_valid_after_utc.timestamp())
        return min(time_s, end_s - SERVER_VALID_S)

    def _known(self) -> tuple[ServerCertificate | None, str]:
        """The server's certificate on disk, and its chain."""
        try:
            certificate, *chain = x509.load_pem_x509_certificates(self._server_path.read_bytes())
            alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
            return None, ""
        found = [str(value) for value in alternatives.get_values_for_type(x509.IPAddress)]
        found += alternatives.get_values_for_type(x509.DNSName)
        start_s = int(certificate.not_valid_before_utc.timestamp())
        end_s = int(certificate.not_valid_after_utc.timestamp())
        known = ServerCertificate(self._server_path, tuple(sorted(found)), start_s, end_s)
        return known, "".join(map(_text, chain))

    def _chain(self) -> str:
        """What stands behind the server's certificate.

        Where there is a bridge, the new authority's own certificate must not stand there as well: OpenSSL would end the
        chain at it, and children with the old pin would not find their own.
        """
        return self._previous.bridge if self._previous else self._state.certificate

    def _make(self, names: tuple[str, ...], now_s: int, *, end_s: int) -> ServerCertificate:
        key = ec.generate_private_key(ec.SECP256R1())
        last_s = int(self._certificate.not_valid_after_utc.timestamp())
        start_s, end_s = max(now_s - _SKEW_S, RELEASED_S), min(max(now_s + SERVER_VALID_S, end_s), last_s)
        certificate = _signed_server(
            names,
            key.public_key(),
            self._certificate,
            self._key,
            start_s=start_s,
            end_s=end_s,
        )
        content = _pem_of(key) + _text(certificate) + self._chain()
        write_atomic(self._server_path, content.encode("ascii"), mode=0o600)
        return ServerCertificate(self._server_path, names, start_s, end_s)


def _stamp(path: Path) -> tuple[int, int, int]:
    """What differs once a file was written anew."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _fresh(known: ServerCertificate, now_s: int) -> bool:
    return known.start_s <= now_s < known.start_s + _SKEW_S + SERVER_VALID_S * 2 // 3


def _moment(time_ns: int) -> int:
    """A time in seconds, no earlier than the first release: a clock before that is known to be wrong."""
    return max(time_ns // _NS, RELEASED_S)


def _canonical(names: Iterable[str]) -> tuple[str, ...]:
    found = set()
    for name in names:
        try:
            found.add(str(ipaddress.ip_address(name)))
        except ValueError:
            lower = name.lower()
            if not _HOST.match(lower):
                raise InputError(
                    f"{name[:80]!r} is no host name or IP address",
                    hint="Write names as DNS knows them, without port or wildcard.",
                    name=name[:80],
                ) from None
            found.add(lower)
    if not 0 < len(found) <= MAX_NAMES:
        raise InputError(
            f"A server's certificate is for 1 to {MAX_NAMES} names, not {len(found)}",
            hint="Name the host names and addresses under which children and people reach this node.",
            limit=MAX_NAMES,
        )
    return tuple(sorted(found))


def _self_signed(key: ec.EllipticCurvePrivateKey, now_s: int) -> x509.Certificate:
    """An authority's certificate. Its name is its own, since OpenSSL looks authorities up by name."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Edgewise {digest[:16]}")])
    builder = _authority_builder(name, key.public_key(), path_length=1)
    return (
        builder.issuer_name(name)
        .not_valid_before(_date(RELEASED_S))
        .not_valid_after(_date(now_s + _AUTHORITY_VALID_S))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _signed_authority(
    name: x509.Name, public: ec.EllipticCurvePublicKey, issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """The certificate of an authority by the one before."""
    builder = _authority_builder(name, public, path_length=0)
    return (
        builder.issuer_name(issuer.subject)
        .not_valid_before(issuer.not_valid_before_utc)
        .not_valid_after(issuer.not_valid_after_utc)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _authority_builder(
    name: x509.Name, public: ec.EllipticCurvePublicKey, *, path_length: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed_server(
    names: tuple[str, ...],
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    *,
    start_s: int,
    end_s: int,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Edgewise node")]))
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_date(start_s))
        .not_valid_after(_date(end_s))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _date(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(_PEM).decode("ascii")


def _pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(_PEM, *private).decode("ascii")
