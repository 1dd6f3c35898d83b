"""Decisions are sealed: what goes into the ``decisions`` stream becomes part of the node's chain (``trust.chain``).

Beside the journal stand the node's key, its public half, and the chain's *head*: how far it goes. The head is written
after the records, so a crash between the two leaves it behind them, never ahead: it is taken forward at the next start
when the records that follow it are rightly sealed. A head that is ahead of the records says that some were removed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgewise._lib.files import atomic_writer, write_atomic
from edgewise.errors import CorruptError, EdgewiseError, SettingsError
from edgewise.trust.chain import RESUMED, SEAL, Checker, Fault, Head, Seal, digest_at, seal
from edgewise.trust.keys import name_of, open_key, public_key
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.journal.base import Journal

KEY = "node.key"
PUBLIC_KEY = "node.pub"
HEAD = "decisions.head"
_PAGE = 500

logger = logging.getLogger(__name__)


class _SignedHead(msgspec.Struct, frozen=True):
    """The file that holds the head."""

    number: int
    digest: str
    signature: str


class Readable(Protocol):
    """What a journal can be read by: itself, or a reader in another process."""

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``journal.base.Journal``."""
        ...


class Report(msgspec.Struct, frozen=True):
    """What a check of the chain found.

    Attributes:
        sealed: Records that carry a seal.
        first: Number of the oldest one kept; what was before it was removed by retention.
        last: Number of the newest one.
        key: The public key that all seals must be of; empty when the node has none yet.
        faults: What is wrong; empty when nothing was edited, removed or reordered.
    """

    sealed: int
    first: int
    last: int
    key: str
    faults: tuple[Fault, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


class SealedStream:
    """Appends to one stream of a journal, sealing each record. The only writer of that stream; safe for threads.

    Args:
        journal: Where records go.
        stream: Which stream.
        folder: Where key and head stand.
        clock: For records without a time.
        complete: Puts to a record what it has to say before it is sealed.

    Raises:
        SettingsError: The key cannot be read, or others can read it.
    """

    def __init__(
        self,
        journal: Journal,
        stream: str,
        folder: Path,
        *,
        clock: Clock,
        complete: Callable[[Entry], Entry] = lambda entry: entry,
    ) -> None:
        self._journal = journal
        self._complete = complete
        self._stream = stream
        self._folder = folder
        self._clock = clock
        self._key = open_key(folder / KEY)
        self._name = name_of(self._key)
        self._lock = threading.Lock()
        self._head = Head()
        if (folder / PUBLIC_KEY).exists():
            self._resume()
        else:
            self._keep(self._head)
            write_atomic(folder / PUBLIC_KEY, f"{self._name}\n".encode())

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        """Seals entries and appends them; see ``Journal.append``."""
        if stream != self._stream:
            return self._journal.append(stream, entries)
        with self._lock:
            sealed, head = seal(
                [self._complete(entry) for entry in entries], self._head, self._key, time_ns=self._clock.time_ns()
            )
            accepted = self._journal.append(stream, sealed)
            self._head = head
            try:
                self._keep(head)
            except (OSError, EdgewiseError) as error:  # the record is there: the next head says so as well
                logger.warning("how far the decisions go could not be kept: %s", error)
            return accepted

    def _resume(self) -> None:
        """Goes on behind the newest record, whether or not the head knows of it yet."""
        if (known := _public_name(self._folder)) != self._name:
            raise SettingsError(
                f"{self._folder / KEY} is not the key that sealed this node's decisions ({known[:16]}...)",
                hint=f"Put the key back, or move {self._folder} away to begin a new chain; edgewise audit will say so.",
            )
        stored = _read_head(self._folder / HEAD, self._name)
        newest = self._journal.read(self._stream, limit=1, newest_first=True)
        mark = _seal_of(newest[0]) if newest else None
        self._head = stored or Head()
        if mark is not None and mark.number > self._head.number:
            self._head = Head(mark.number, digest_at(newest[0], mark))
            self._keep(self._head)
        if stored is None:
            facts = {"problem": "the file that says how far the decisions go was gone", "number": self._head.number}
            self.append(self._stream, [Entry(RESUMED, facts)])

    def _keep(self, head: Head) -> None:
        signed = _SignedHead(head.number, head.digest, self._key.sign(_head_bytes(head)).hex())
        with atomic_writer(self._folder / HEAD) as file:
            file.write(msgspec.json.encode(signed))


def check(journal: Readable, stream: str, folder: Path) -> Report:
    """Follows the chain of a stream from its oldest record to its end. Writes nothing.

    Raises:
        CorruptError: The public key is none.
    """
    if not (folder / PUBLIC_KEY).exists():
        return _unkeyed(journal, stream, folder)
    name = _public_name(folder)
    problems: list[Fault] = []
    stored: Head | None = None
    try:  # before the records, since those that are written meanwhile are no fault
        stored = _read_head(folder / HEAD, name)
    except CorruptError as error:
        problems.append(Fault(0, error.message))
    checker = Checker(public_key(name), name, stored)
    first = after = 0
    while page := journal.read(stream, after=after, limit=_PAGE):
        if not first:
            first = next((mark.number for mark in map(_seal_of, page) if mark), 0)
        checker.follow(page)
        after = page[-1].sequence
    if not problems:
        checker.end()
    faults = (*checker.faults, *problems)
    return Report(checker.checked, first, checker.head.number if checker.head else 0, name, faults)


def _unkeyed(journal: Readable, stream: str, folder: Path) -> Report:
    """A node without a public key has sealed nothing, or somebody took the key away."""
    newest = journal.read(stream, limit=1, newest_first=True)
    sealed = any(_seal_of(record) for record in newest)
    if not sealed and not any((folder / name).exists() for name in (KEY, HEAD)):
        return Report(0, 0, 0, "", ())
    return Report(0, 0, 0, "", (Fault(0, f"{PUBLIC_KEY}, which checks the seals, is gone"),))


def _public_name(folder: Path) -> str:
    return (folder / PUBLIC_KEY).read_text(encoding="ascii", errors="replace").strip()


def _seal_of(record: Record) -> Seal | None:
    try:
        return msgspec.convert(record.body.get(SEAL), Seal)
    except msgspec.ValidationError:
        return None


def _head_bytes(head: Head) -> bytes:
    return f"edgewise chain head {head.number} {head.digest}".encode()


def _read_head(path: Path, name: str) -> Head | None:
    """The head that was kept; None when there is no file.

    Raises:
        CorruptError: It is not what this node signed.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        stored = msgspec.json.decode(content, type=_SignedHead)
        head = Head(stored.number, stored.digest)
        public_key(name).verify(bytes.fromhex(stored.signature), _head_bytes(head))
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, InvalidSignature) as error:
        raise CorruptError(
            f"{path.name}, which says how far the decisions go, was changed",
            hint="Run `edgewise audit` and keep what it says; without the file the node goes on, and says so for ever.",
            file=str(path),
        ) from error
    return head
