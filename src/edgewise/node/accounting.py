"""Keeps what a node knows of its accounts in step with what other processes change, and carries those changes into its
audit log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgewise.errors import RetryError
from edgewise.types import Entry

if TYPE_CHECKING:
    from edgewise.accounts.directory import Directory
    from edgewise.journal.base import Journal

# A change beside the node counts after so long at most, and as often the database is asked for its revision.
EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Accounting:
    """See the module's docstring.

    Args:
        directory: The accounts.
        journal: Gets the changes, in ``stream``.
        stream: Name of the audit stream.
        node: Whose changes they are.
    """

    def __init__(self, directory: Directory, journal: Journal, *, stream: str, node: str) -> None:
        self._directory = directory
        self._journal = journal
        self._stream = stream
        self._node = node
        self._failing = False

    def round(self) -> None:
        """Looks once. A database that does not answer is told once, and again when it is back."""
        try:
            self._directory.refresh()
            self._carry()
        except RetryError as error:
            if not self._failing:
                logger.warning("accounts: %s", error)
            self._failing = True
            return
        if self._failing:
            logger.warning("accounts: the database answers again")
        self._failing = False

    def _carry(self) -> None:
        """Writes changes into the journal, then forgets them. A crash between the two writes them twice: each has an
        id, by which that is seen.
        """
        store = self._directory.store
        if not store.changes(node=self._node):
            return
        with store.state.transaction():
            changes = store.changes(node=self._node)
            entries = [
                Entry(change.kind, {**change.facts, "id": change.id}, time_ns=change.time_ns) for change in changes
            ]
            self._journal.append(self._stream, entries)
            store.forget_changes(changes)
