"""Files at http and https addresses, resumed where a transfer broke off (RFC 9110, sections 13.1.5 and 14)."""

import contextlib
import errno
import http.client
import json
import random
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path

from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import NotFoundError, TooLargeError, UnavailableError
from edgewise.zoo.origins.base import Origin, Report

_CHUNK = 1 << 18
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_GONE = {404, 410}


class _Broken(Exception):  # noqa: N818  never leaves this module
    """A transfer that is worth another attempt."""


class UrlFetcher:
    """Downloads with resuming and retries.

    A part lies in the folder with the validator (strong ETag, else Last-Modified) it was served under; the rest is
    asked for by ``Range`` with ``If-Range``, so a file that changed meanwhile starts anew. Without a validator every
    attempt starts anew.

    Args:
        attempts: Attempts in a row that may bring nothing new.
        timeout_s: For one silence of the server.
        deadline_s: For the whole file.
        clock: Measures the deadline.
        sleep: Waits between attempts: doubling, up to 30 s, times ``jitter``.
        jitter: Returns 0..1.
    """

    def __init__(
        self,
        *,
        attempts: int = 4,
        timeout_s: float = 30.0,
        deadline_s: float = 3600.0,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._jitter = jitter
        self._opener = _http_only_opener()

    def fetch(self, origin: Origin, folder: Path, report: Report) -> Path:
        """See ``Fetcher.fetch``."""
        if not origin.package.startswith(("https://", "http://")):
            raise UnavailableError(f"{origin.package} is no address of the web")
        target = folder / origin.key
        part = _Part(target.with_suffix(".part"))
        deadline = self._clock.monotonic() + self._deadline_s
        failures = 0
        while True:
            before = part.size
            try:
                self._attempt(origin, part, report, deadline)
                return part.finish(target)
            except TooLargeError:
                part.discard()
                raise
            except (_Broken, OSError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise
                failures = 1 if part.size > before else failures + 1
                if failures >= self._attempts or self._clock.monotonic() > deadline or _hopeless(error):
                    raise UnavailableError(
                        f"{origin.source}: {_reason(error)}", hint="Check the network, then retry; it will resume."
                    ) from error
            wait = min(_FIRST_WAIT_S * 2**failures, _LONGEST_WAIT_S)
            self._sleep(wait * (0.5 + self._jitter() / 2))

    def _attempt(self, origin: Origin, part: "_Part", report: Report, deadline: float) -> None:
        """One request; returns when the file is whole."""
        request = urllib.request.Request(origin.package, headers=part.headers())  # noqa: S310  opener knows http only
        try:
            response = self._opener.open(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(origin, error.code, part) from error
        with response:
            total = part.start(response.status, response.headers)
            if total > origin.max_bytes:
                raise TooLargeError(f"{origin.source} is too large", limit=origin.max_bytes, actual=total)
            with part.path.open("ab") as file:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    if file.tell() > origin.max_bytes:
                        raise TooLargeError(f"{origin.source} is too large", limit=origin.max_bytes)
                    if self._clock.monotonic() > deadline:
                        raise _Broken(f"not done after {self._deadline_s:.0f} s")
                    report(file.tell(), total)
        if total and part.size != total:
            raise _Broken(f"broke off at {part.size} of {total} bytes")


class _Part:
    """What has arrived so far, and the validator it was served under."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._validator_path = path.with_suffix(".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def headers(self) -> dict[str, str]:
        """Request headers that ask for the rest, or for all of it."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "edgewise"}
        validator = self._validator()
        if self.size and validator:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": validator}
        return headers

    def start(self, status: int, headers: Message) -> int:
        """Makes ready for the body of a response; returns the size of the whole file, 0 when it is not known."""
        if status == 206:
            first, total = _content_range(headers)
            if first != self.size:
                self.discard()
                raise _Broken("the server sent another range than it was asked for")
            return total
        self.discard()
        self.path.touch()
        validator = headers.get("ETag", "")
        if not validator or validator.startswith("W/"):
            validator = headers.get("Last-Modified", "")
        self._validator_path.write_text(json.dumps(validator))
        return int(headers.get("Content-Length") or 0)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._validator_path.unlink(missing_ok=True)

    def finish(self, target: Path) -> Path:
        self._validator_path.unlink(missing_ok=True)
        return self.path.replace(target)

    def _validator(self) -> str:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return str(json.loads(self._validator_path.read_text()))
        return ""


def _content_range(headers: Message) -> tuple[int, int]:
    """First byte and whole size from ``Content-Range: bytes 5-9/10``."""
    value = headers.get("Content-Range", "")
    try:
        span, _, total = value.removeprefix("bytes ").partition("/")
        return int(span.partition("-")[0]), 0 if total == "*" else int(total)
    except ValueError:
        raise _Broken(f"cannot read Content-Range {value!r}") from None


def _refusal(origin: Origin, status: int, part: _Part) -> Exception:
    if status in _GONE:
        return NotFoundError(f"{origin.source}: HTTP {status}", kind="address", name=origin.package)
    if status == 416:
        part.discard()
    if status in {408, 416, 425, 429} or status >= 500:
        return _Broken(f"HTTP {status}")
    return UnavailableError(f"{origin.source}: HTTP {status}", status=status)


def _hopeless(error: Exception) -> bool:
    """Whether trying again soon is pointless: the name does not resolve, or the certificate is not trusted."""
    reason = getattr(error, "reason", error)
    return isinstance(reason, socket.gaierror) or "CERTIFICATE_VERIFY_FAILED" in str(reason)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or error) or type(error).__name__


def _http_only_opener() -> urllib.request.OpenerDirector:
    """Follows redirects, uses proxies, and knows no ``file:`` or ``ftp:``."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
