"""How a child knows its parent: by the fingerprint of the parent's authority, and by nothing else.

The fingerprint comes with the join token, so it is known before the first byte is sent. The certificate behind it is
asked for over a connection that proves nothing (``asking_context``; ``Authority.pem`` is the answer), and ``pin`` takes
it only if its digest is the fingerprint. Everything else goes over ``Pin.context``, which trusts that authority
alone: no certificate of the system, and not the wall clock.

A host's name is not checked. The authority signs certificates of its own parent and of nobody else, so whoever shows
one, and has its key, is that parent, under whatever name or address it was reached.
"""

from __future__ import annotations

import hashlib
import ssl

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgewise.errors import AccessError, EdgewiseError, UnavailableError
from edgewise.trust import jws
from edgewise.trust.floor import TimeFloor
from edgewise.trust.names import Digest
from edgewise.trust.refusals import Reason, refusal

MAX_PEM_BYTES = 16 * 1024
MAX_SUCCESSOR_BYTES = 8 * 1024
SUCCESSOR_TYP = "edgewise-successor+jwt"

_MAX_CERTIFICATES = 8
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME; Python's ssl has no name for it
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_WEAK = {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION", "WRONG_VERSION_NUMBER"}


class Successor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an authority states when another follows it.

    Attributes:
        old: Its fingerprint.
        new: The other's.
        certificate: The other's certificate, PEM.
    """

    old: Digest
    new: Digest
    certificate: str


class Pin(msgspec.Struct, frozen=True):
    """The parent's authority, as a child keeps it. Made by ``pin``; to be stored as its two texts.

    Attributes:
        fingerprint: SHA-256 of its public key (SubjectPublicKeyInfo), hex.
        pem: Its certificate.
    """

    fingerprint: str
    pem: str

    def context(self, floor: TimeFloor) -> ssl.SSLContext:
        """For connections to the parent: TLS 1.3, this authority alone, certificates not older than the floor.

        A handshake ends well only with the parent, so nothing is sent to anybody else. Whoever wraps a socket with
        ``do_handshake_on_connect=False`` calls ``do_handshake`` before sending.

        Args:
            floor: What time it is at least; it learns from each handshake.
        """
        context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT | _NO_CHECK_TIME
        context.load_verify_locations(cadata=self.pem)
        context.floor = floor
        return context

    def follow(self, statement: str) -> Pin:
        """The authority that follows this one, by this one's word. To be stored in its place.

        Args:
            statement: The parent's ``successor`` document.

        Raises:
            AccessError: ``missing``, ``oversize``, ``malformed``, ``wrong_fingerprint`` or ``bad_signature``.
        """
        signed = jws.read(statement, typ=SUCCESSOR_TYP, max_bytes=MAX_SUCCESSOR_BYTES, what="successor")
        stated = signed.claims(Successor)
        if stated.old != self.fingerprint:
            raise refusal(Reason.WRONG_FINGERPRINT, "The successor is another authority's")
        key = x509.load_pem_x509_certificate(self.pem.encode()).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - ``pin`` takes no other
        signed.verify(key)
        return pin(stated.certificate, stated.new)


def asking_context() -> ssl.SSLContext:
    """For the one request that asks for the parent's certificates: anybody may answer, so nothing else goes over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def pin(pem: str, fingerprint: str) -> Pin:
    """The authority that has a fingerprint, out of the certificates that somebody sent.

    Args:
        pem: One or several certificates.
        fingerprint: From the join token, or stored.

    Raises:
        AccessError: ``oversize``, ``malformed``, or ``wrong_fingerprint``: none of them has it.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise refusal(Reason.OVERSIZE, f"The parent's certificates are longer than {MAX_PEM_BYTES} bytes")
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())[:_MAX_CERTIFICATES]
        found = [each for each in certificates if fingerprint_of(each) == fingerprint and _is_authority(each)]
    except ValueError as error:
        raise refusal(Reason.MALFORMED, "The parent's certificates cannot be read") from error
    if not found:
        raise refusal(Reason.WRONG_FINGERPRINT, "The parent's certificate is not the one that was pinned")
    return Pin(fingerprint, found[0].public_bytes(serialization.Encoding.PEM).decode("ascii"))


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's public key (SubjectPublicKeyInfo, as RFC 7469 pins it), hex."""
    public = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(public).hexdigest()


def translate(error: ssl.SSLError) -> EdgewiseError:
    """What a failed handshake means.

    Returns:
        ``AccessError`` with ``wrong_fingerprint``, ``expired`` or ``weak_tls``; ``UnavailableError`` for anything else.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _EXPIRED:
            return refusal(Reason.EXPIRED, error.verify_message)
        return refusal(
            Reason.WRONG_FINGERPRINT, f"Whoever answers is not the parent that was pinned: {error.verify_message}"
        )
    reason = getattr(error, "reason", None)  # only the errors that OpenSSL makes have one
    if reason in _WEAK:
        return refusal(Reason.WEAK_TLS, "Whoever answers does not speak TLS 1.3")
    return UnavailableError(f"The parent's connection failed: {reason or error}", hint="Retry later.")


def _is_authority(certificate: x509.Certificate) -> bool:
    """Whether it is one that its own key signed; anybody can write another around the same public key."""
    try:
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (InvalidSignature, TypeError, ValueError, x509.ExtensionNotFound):
        return False
    key = certificate.public_key()
    return constraints.ca and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check_dates(self)


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check_dates(self)


class _PinnedContext(ssl.SSLContext):
    """A context whose connections look at dates by the floor, so that nobody can forget to."""

    sslsocket_class = _PinnedSocket
    sslobject_class = _PinnedObject
    floor: TimeFloor


def _check_dates(connection: ssl.SSLSocket | ssl.SSLObject) -> None:
    shown = connection.getpeercert(binary_form=True)
    context = connection.context
    assert shown is not None  # noqa: S101 - CERT_REQUIRED
    assert isinstance(context, _PinnedContext)  # noqa: S101 - it made the connection
    try:
        context.floor.accept(x509.load_der_x509_certificate(shown))
    except AccessError as error:
        failed = ssl.SSLCertVerificationError(1, error.message)
        failed.verify_code, failed.verify_message = _EXPIRED, error.message
        raise failed from error
