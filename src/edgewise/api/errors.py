"""From an error to an HTTP answer: the one table, and the two forms an error body has.

Under ``/v1`` a body is ``{"error": {"code", "message", "hint", "facts"}}``; under ``/v2`` it is
``{"error": "message"}`` as the Open Inference Protocol says. The errors below exist only because of HTTP.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise.errors import (
    AccessError,
    BusyError,
    ClosedError,
    ConflictError,
    EdgewiseError,
    ForbiddenError,
    InputError,
    MissingExtraError,
    NotFoundError,
    PermanentError,
    RetryError,
    SettingsError,
    StorageFullError,
    ThrottledError,
    TooLargeError,
)

if TYPE_CHECKING:
    from edgewise.api.metrics import Metrics

log = logging.getLogger(__name__)


class MethodError(InputError):
    """The path exists, but not for this method. Facts: ``allowed``."""

    code = "method_not_allowed"


class MediaTypeError(InputError):
    """A body of a type the path does not take. Facts: ``accepted``."""

    code = "unsupported_media_type"


class SlowError(InputError):
    """The body came too slowly, or stopped."""

    code = "request_timeout"


class HeadersError(InputError):
    """The headers are larger than the node takes."""

    code = "headers_too_large"


class CrossSiteError(AccessError):
    """The request was sent by another site's page, or under a name that is not this node's."""

    code = "cross_site"


# The nearest class on an error's way to the root decides.
STATUS: dict[type[EdgewiseError], HTTPStatus] = {
    InputError: HTTPStatus.BAD_REQUEST,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    AccessError: HTTPStatus.UNAUTHORIZED,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    CrossSiteError: HTTPStatus.FORBIDDEN,
    MethodError: HTTPStatus.METHOD_NOT_ALLOWED,
    MediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    SlowError: HTTPStatus.REQUEST_TIMEOUT,
    HeadersError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    RetryError: HTTPStatus.SERVICE_UNAVAILABLE,
    ThrottledError: HTTPStatus.TOO_MANY_REQUESTS,
    StorageFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    ClosedError: HTTPStatus.SERVICE_UNAVAILABLE,
    MissingExtraError: HTTPStatus.NOT_IMPLEMENTED,
    SettingsError: HTTPStatus.INTERNAL_SERVER_ERROR,
    PermanentError: HTTPStatus.INTERNAL_SERVER_ERROR,
    EdgewiseError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

RETRY_AFTER_S = 1


class ErrorFacts(msgspec.Struct, frozen=True):
    """What went wrong: a stable ``code``, a sentence, what to do next, and the values behind it."""

    code: str
    message: str
    hint: str
    facts: dict[str, Any]


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every error under ``/v1``."""

    error: ErrorFacts


class OipErrorBody(msgspec.Struct, frozen=True):
    """The body of every error under ``/v2``."""

    error: str


def status_of(error: EdgewiseError) -> HTTPStatus:
    """The HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def headers_of(error: EdgewiseError) -> list[tuple[bytes, bytes]]:
    """Headers that go with an error."""
    if isinstance(error, BusyError | ThrottledError) or "retry_after_s" in error.facts:
        return [(b"retry-after", str(error.facts.get("retry_after_s", RETRY_AFTER_S)).encode())]
    if isinstance(error, MethodError):
        return [(b"allow", ", ".join(error.facts["allowed"]).encode())]  # type: ignore[arg-type]
    if status_of(error) is HTTPStatus.UNAUTHORIZED:
        return [(b"www-authenticate", b"Bearer")]
    return []


def body_of(error: EdgewiseError, *, oip: bool = False) -> bytes:
    """The body of an error, in the form of ``/v1`` or of the Open Inference Protocol."""
    if oip:
        text = f"{error.message}. {error.hint}" if error.hint else error.message
        return msgspec.json.encode(OipErrorBody(text))
    facts = msgspec.to_builtins(error.facts, str_keys=True, enc_hook=str)
    return msgspec.json.encode(ErrorBody(ErrorFacts(error.code, error.message, error.hint, facts)))


def failure(
    exception: BaseException, metrics: Metrics, *, what: str, oip: bool
) -> tuple[HTTPStatus, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of the answer to a request that failed; counts it, and logs what was unforeseen.

    Args:
        exception: What was raised.
        metrics: Where it is counted.
        what: The request, for the log.
        oip: Whether the body has the form of the Open Inference Protocol.
    """
    error = translate(exception)
    if error is not exception:
        log.error("%s failed", what, exc_info=exception)
    metrics.errors[error.code] += 1
    return status_of(error), headers_of(error), body_of(error, oip=oip)


def translate(error: BaseException) -> EdgewiseError:
    """An unforeseen exception as an error of ours that tells the caller nothing of the inside."""
    if isinstance(error, EdgewiseError):
        return error
    return InternalError("The node failed on this request", hint="The node's log says why.")


class InternalError(PermanentError):
    """A defect of the node."""

    code = "internal"
