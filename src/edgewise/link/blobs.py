"""The parent's side of blobs: what a proved child offers is checked against what it may send, and taken.

A child may send what kept records of its own subtree point to, and get back what nothing but its own subtree points
to. So a parent is no storage for whatever a child likes: the record comes first, and counts against the bounds of
records; what is being received has bounds for each child and in all (``journal.uploads``); content that is not what
its digest says is thrown away; and once the records are gone a blob is the first to be evicted. What a child may not
have is not found, whether it is here or not.
"""

from __future__ import annotations

import io
from typing import Protocol

from edgewise.errors import NotFoundError
from edgewise.journal.base import Pointers
from edgewise.journal.blob_files import unknown
from edgewise.journal.blobs import BlobStore
from edgewise.journal.uploads import Uploads
from edgewise.link.base import FETCHED_BYTES, Begun, Offer, Partials, Piece


class Routes(Protocol):
    """Who brings whom; ``edgewise.fleet`` keeps it."""

    def route(self, node: str) -> str | None:
        """The child that brings a node; None when nobody does."""
        ...


class BlobIntake:
    """Takes blobs of children, and gives them back. Safe for threads.

    Args:
        uploads: Receives them.
        blobs: Where they are kept.
        journal: The records that point to them.
        routes: Who brings whom.
    """

    def __init__(self, uploads: Uploads, *, blobs: BlobStore, journal: Pointers, routes: Routes) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._journal = journal
        self._routes = routes

    def begin(self, caller: str, offer: Offer) -> Begun:
        """Begins to take a blob, or goes on.

        Raises:
            NotFoundError: No record of the child's subtree that is kept here points to it.
            EdgewiseError: As ``Uploads.begin``.
        """
        if not any(self._routes.route(node) == caller for node in self._pointing(offer.digest)):
            raise NotFoundError(
                f"No record of {caller} points to {offer.digest} here",
                hint="Send the record first.",
                kind="record",
                name=offer.digest,
            )
        offset = self._uploads.begin(offer.digest, offer.size, offer.media_type, sender=caller)
        return Begun(offset, done=offset == offer.size and self._kept(offer.digest))

    def write(self, caller: str, digest: str, offset: int, piece: bytes) -> Begun:
        """Takes the next piece; with the last one the blob is checked, and on disk when this returns.

        Raises:
            EdgewiseError: As ``Uploads.write`` and ``Uploads.finish``.
        """
        there = self._uploads.write(digest, offset, piece, sender=caller)
        done = self._uploads.is_whole(digest, sender=caller)
        if done:
            self._uploads.finish(digest, sender=caller)
        return Begun(there, done=done)

    def begun(self, caller: str) -> Partials:
        """What a child has begun to send."""
        return Partials(tuple(self._uploads.begun(sender=caller)))

    def give_up(self, caller: str, digest: str) -> None:
        """A child cannot finish what it has begun."""
        self._uploads.give_up(digest, sender=caller)

    def give(self, caller: str, digest: str, offset: int) -> Piece:
        """A piece of a blob; from this node's own parent when it is not here any more.

        Raises:
            NotFoundError: It is not kept, or not the child's alone.
            UnavailableError: It has to come from the parent, who does not answer.
        """
        nodes = self._pointing(digest)
        if not nodes or any(self._routes.route(node) != caller for node in nodes):
            raise unknown(digest)
        with self._blobs.open_blob(digest) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(min(offset, size))
            return Piece(size, file.read(FETCHED_BYTES))

    def close(self) -> None:
        """Closes what is being received."""
        self._uploads.close()

    def expire(self) -> None:
        """Forgets what was begun and not gone on with for long."""
        self._uploads.expire()

    def _pointing(self, digest: str) -> list[str]:
        return [pointer.node for pointer in self._journal.pointers([digest])[0]]

    def _kept(self, digest: str) -> bool:
        try:
            self._blobs.stat(digest)
        except NotFoundError:
            return False
        return True
