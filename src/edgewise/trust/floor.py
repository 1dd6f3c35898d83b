"""What time it is at least: a lower bound that only grows, in place of a clock that may be wrong.

A device may start with its clock in 1970, or be set to 2090. So whether a certificate has expired is not asked of the
clock but of the newest time that the node has seen proved: the start of a certificate that its parent's authority
signed, or what the parent states in an answer over a connection so secured. A certificate that ended before that is
refused, whatever the clock says; one that ended since is let pass, which a right clock would not.

A parent whose own clock is wrong must not lock its children out for ever. So what it states counts no further than to
the end of the certificate with which it states it, and a new certificate never ends before the one that it
replaces (``authority``).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from edgewise._lib.files import write_atomic
from edgewise.errors import CorruptError, SettingsError
from edgewise.trust.refusals import Reason, refusal

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

RELEASED_S = 1_767_225_600
"""2026-01-01: no certificate of Edgewise is older. Seconds since the Unix epoch."""

_MAX_BYTES = 32
# A flash card is not written for every answer; what a crash forgets is learnt again from the next one.
_SAVE_EVERY_S = 3600


class TimeFloor:
    """A lower bound of the true time. Safe for threads.

    Args:
        path: Where it is kept; None keeps it in memory.

    Raises:
        SettingsError: The file cannot be read.
        CorruptError: It holds no time.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._saved_s = self._time_s = max(RELEASED_S, _read(path) if path else 0)
        self._end_s = 0

    @property
    def time_s(self) -> int:
        """It is this late at least: seconds since the Unix epoch."""
        return self._time_s

    def accept(self, certificate: Certificate) -> None:
        """Takes a certificate whose chain and possession are proved, and learns from it.

        Raises:
            AccessError: ``expired``: it ended before the floor.
        """
        start_s = int(certificate.not_valid_before_utc.timestamp())
        end_s = int(certificate.not_valid_after_utc.timestamp())
        with self._lock:
            if end_s < self._time_s:
                raise refusal(Reason.EXPIRED, "The parent's certificate ended before a time that is proved to be past")
            self._end_s = max(self._end_s, end_s)
            self._time_s = max(self._time_s, start_s)

    def hear(self, time_s: float) -> None:
        """Takes the time that the parent states in an answer over a connection whose certificate was accepted."""
        with self._lock:
            self._time_s = max(self._time_s, int(min(time_s, self._end_s)))

    def save(self) -> None:
        """Keeps it on disk, when it has grown by an hour. To be called after answers.

        Raises:
            StorageFullError: The disk is full; it is kept in memory.
        """
        if self._path is None:
            return
        with self._lock:
            if self._time_s - self._saved_s < _SAVE_EVERY_S:
                return
            write_atomic(self._path, f"{self._time_s}\n".encode())
            self._saved_s = self._time_s


def _read(path: Path) -> int:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES).strip()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read: {error.strerror}", hint="Check the path and its permissions."
        ) from error
    if not content.isdigit():
        raise CorruptError(
            f"{path} holds no time", hint=f"rm {path}; the node learns the time again from its parent.", file=str(path)
        )
    return int(content)
