"""Appending to the journal by those who cannot turn back what they have to tell."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from edgewise.errors import RetryError
from edgewise.pipeline.backoff import Backoff
from edgewise.types import Entry

logger = logging.getLogger(__name__)


class Appendable(Protocol):
    """What takes records: a journal, or what stands before it."""

    def append(self, stream: str, entries: Sequence[Entry]) -> range:
        """See ``journal.base.Journal``."""
        ...


def append_patiently(
    journal: Appendable,
    stream: str,
    entries: Sequence[Entry],
    *,
    stopped: threading.Event,
    backoff: Backoff | None = None,
) -> range:
    """Appends, and tries again for as long as what is in the way may pass (a full disk); returns the sequences.

    Raises:
        RetryError: It was in the way until ``stopped`` was set.
    """
    backoff = backoff or Backoff()
    while True:
        try:
            return journal.append(stream, entries)
        except RetryError as error:
            logger.warning("%s cannot be written: %s", stream, error)
            if stopped.wait(backoff.next()):
                raise
