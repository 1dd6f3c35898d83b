"""Decisions are sealed: what goes into the ``decisions`` stream becomes part of the node's chain (``trust.chain``).

Beside the journal stand the node's key, its public half, and the chain's *head*: how far it goes. The head is written
after the records, so a crash between the two leaves it behind them, never ahead: it is taken forward at the next start
when the records that follow it are rightly sealed. A head that is ahead of the records says that some were removed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from edgewise._lib.files import atomic_writer
from edgewise.errors import CorruptError
from edgewise.trust.chain import SEAL, Checker, Fault, Head, Seal, digest_of, seal
from edgewise.trust.keys import name_of, open_key, public_key
from edgewise.types import Entry, Record

if TYPE_CHECKING:
    from edgewise._lib.clock import Clock
    from edgewise.journal.base import Journal

KEY = "node.key"
PUBLIC_KEY = "node.pub"
HEAD = "decisions.head"
_PAGE = 500


class _SignedHead(msgspec.Struct, frozen=True):
    """The file that holds the head."""

    number: int
    digest: str
    signature: str


class Readable(Protocol):
    """What a journal can be read by: itself, or a reader in another process."""

    def read(self, stream: str, *, after: int = 0, limit: int = 100) -> list[Record]:
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
        _write_once(folder / PUBLIC_KEY, self._name)
        self._head = self._resumed()

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
            self._keep(head)
            return accepted

    def _resumed(self) -> Head:
        """Where the chain goes on: behind the newest record, whether or not the head knows of it yet."""
        stored = _read_head(self._folder / HEAD, self._name) or Head()
        newest = self._journal.read(self._stream, limit=1, newest_first=True)
        mark = _seal_of(newest[0]) if newest else None
        if mark is None or mark.number <= stored.number:
            return stored
        record = newest[0]
        head = Head(
            mark.number,
            digest_of(
                number=mark.number,
                previous=mark.previous,
                kind=record.kind,
                time_ns=record.time_ns,
                body=record.body,
                blobs=record.blobs,
            ),
        )
        self._keep(head)
        return head

    def _keep(self, head: Head) -> None:
        signed = _SignedHead(head.number, head.digest, self._key.sign(_head_bytes(head)).hex())
        with atomic_writer(self._folder / HEAD) as file:
            file.write(msgspec.json.encode(signed))


def check(journal: Readable, stream: str, folder: Path) -> Report:
    """Follows the chain of a stream from its oldest record to its end. Writes nothing.

    Raises:
        CorruptError: The public key is none.
    """
    path = folder / PUBLIC_KEY
    if not path.exists():
        return Report(0, 0, 0, "", ())
    name = path.read_text(encoding="ascii").strip()
    checker = Checker(public_key(name), name)
    first = after = 0
    while page := journal.read(stream, after=after, limit=_PAGE):
        if not first:
            first = next((mark.number for mark in map(_seal_of, page) if mark), 0)
        checker.follow(page)
        after = page[-1].sequence
    try:
        checker.end(_read_head(folder / HEAD, name))
    except CorruptError as error:
        checker.faults.append(Fault(0, error.message))
    return Report(checker.checked, first, checker.head.number if checker.head else 0, name, tuple(checker.faults))


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
            hint="Run `edgewise audit`; move the file away to begin a new head after that.",
            file=str(path),
        ) from error
    return head


def _write_once(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="ascii").strip() != text:
        with atomic_writer(path) as file:
            file.write(f"{text}\n".encode())
