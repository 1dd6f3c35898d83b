"""Reading a journal from another process: records, audit, ledger. Writes nothing, so it is safe beside a running node.

Every method sees one consistent state: a snapshot of the database, and of the segment being written the groups that the
snapshot knows how to count.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgewise.errors import CorruptError, NotFoundError, PermanentError
from edgewise.journal import blocks
from edgewise.journal.base import Balance, Loss
from edgewise.journal.cipher import Cipher
from edgewise.journal.codec import Codec
from edgewise.journal.database import DATABASE, SQL, Tables
from edgewise.journal.index import Recent
from edgewise.journal.proof import balances, read_losses
from edgewise.journal.refusals import closed
from edgewise.journal.segments import SegmentReader
from edgewise.journal.stored import Stored, fetch, load, locate
from edgewise.types import Record

T = TypeVar("T")

_TRIES = 5  # the node may remove a segment, or write a group, while it is read


class DiskReader:
    """The reading side of a journal on disk.

    Args:
        folder: The journal's folder.
        node: Whose streams ``read`` finds by name.
        cipher: Opens what is encrypted.

    Raises:
        NotFoundError: The folder holds no journal.
        PermanentError: It is of the first format, and no node has opened it since.
    """

    def __init__(self, folder: Path, *, node: str, cipher: Cipher | None = None) -> None:
        if not (folder / DATABASE).exists():
            raise NotFoundError(f"{folder} holds no journal.", hint="Start the node once: edgewise up", kind="journal")
        self._folder = folder
        self._node = node
        self._codec = Codec(cipher)
        self._lock = threading.Lock()
        self._closed = False
        self._tables = Tables(folder)
        try:
            self._refuse_first_format()
        except BaseException:
            self._tables.close()
            raise

    def read(
        self, stream: str, *, after: int = 0, before: int = 0, limit: int = 100, newest_first: bool = False
    ) -> list[Record]:
        """See ``base.Journal``. A damaged block raises CorruptError."""
        before = before or blocks.MAX_SEQUENCE

        def answer(stored: Stored) -> list[Record]:
            row = self._tables.connection.execute(SQL["select_stream"], (self._node, stream)).fetchone()
            if not row:
                raise NotFoundError(f"No stream {stream!r} in the journal.", kind="stream", name=stream)
            index, files, found = stored.indexes[row[0]], SegmentReader(self._folder), list[Record]()
            for place in locate(index, after=after, through=before - 1, limit=limit, newest_first=newest_first):
                segment = stored.segments[place.segment]
                block = fetch(files.open(segment), segment, row[0], place)
                records = self._codec.decode(block, node=self._node, stream=stream)
                found += records[::-1] if newest_first else records
            return [record for record in found if after < record.sequence < before][:limit]

        return self._ask(answer)

    @property
    def identity(self) -> str:
        """See ``base.Custody``.

        Raises:
            PermanentError: The journal was made before there were identities, and no node has opened it since.
        """
        with self._lock:
            self._check_open()
            with self._tables.snapshot() as connection:
                columns = {row[1] for row in connection.execute("PRAGMA table_info(log)")}
                row = connection.execute(SQL["select_identity"]).fetchone() if "identity" in columns else ("",)
        if not row[0]:
            raise PermanentError(
                f"The journal in {self._folder} has no identity yet.", hint="Start the node once: edgewise up"
            )
        return str(row[0])

    def audit(self) -> list[Balance]:
        """See ``base.Journal``; every node and stream in the database, consumer by consumer."""
        return self._ask(lambda stored: balances(self._tables.connection, stored.indexes.__getitem__))

    def losses(self, stream: str = "") -> list[Loss]:
        """See ``base.LossLedger``."""
        with self._lock:
            self._check_open()
            with self._tables.snapshot() as connection:
                return read_losses(connection, stream)

    def close(self) -> None:
        """Releases the files."""
        with self._lock:
            self._closed = True
            self._tables.close()

    def _ask(self, answer: Callable[[Stored], T]) -> T:
        """An answer from one state; from a newer one when files were removed or being written in the meantime."""
        with self._lock:
            self._check_open()
            for left in reversed(range(_TRIES)):
                try:
                    with self._tables.snapshot() as connection:
                        stored = load(connection, self._folder, Recent(self._tables.columns))
                        if not stored.damaged or not left:
                            return answer(stored)
                except FileNotFoundError as error:
                    if not left:
                        raise CorruptError(
                            f"A segment of the journal is missing: {error.filename}",
                            hint="Start the node once; it enters what is lost in the ledger.",
                        ) from error
            raise AssertionError("the last try returns or raises")

    def _refuse_first_format(self) -> None:
        with self._tables.snapshot() as connection:
            if connection.execute(SQL["select_old_table"]).fetchone():
                raise PermanentError(
                    f"The journal in {self._folder} is of an earlier format.",
                    hint="Start the node once (edgewise up); it carries the journal over.",
                )

    def _check_open(self) -> None:
        if self._closed:
            raise closed()
