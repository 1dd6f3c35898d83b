"""Alarms, in a stream of their own: small, urgent, first on every link.

A rule that raises an alarm leaves a decision; this follows the decisions and writes an alarm for each such command,
whatever became of it: when the siren itself does not answer, somebody should know all the more. An alarm names its
decision, so after a crash in between none is written twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from typing import Any

from edgewise._lib.clock import Clock
from edgewise.errors import ClosedError, RetryError
from edgewise.node.inbox import FollowedJournal, Inbox
from edgewise.node.patience import append_patiently
from edgewise.node.streams import ALARMS, DECISIONS
from edgewise.types import Entry, Record

RAISED = "alarm.raised"
CONSUMER = "alarms"

_AT_ONCE = 64
_IDLE_S = 1.0

logger = logging.getLogger(__name__)


class Alarms:
    """Writes alarms, in a thread.

    Args:
        journal: Where decisions come from and alarms go.
        devices: Names of the devices that are alarms.
        clock: Time.
    """

    def __init__(self, journal: FollowedJournal, *, devices: Collection[str], clock: Clock) -> None:
        self._journal = journal
        self._devices = frozenset(devices)
        self._inbox = Inbox(journal, DECISIONS, CONSUMER, batch=_AT_ONCE, clock=clock)
        self._told: int | None = None
        self._failed = False
        self._telling = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)

    def start(self) -> None:
        """Begins with what was decided and not told before."""
        self._thread.start()

    def stop(self) -> None:
        """Tells what was decided by now, and no more. The journal is closed afterwards, which wakes the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._tell_all()

    def join(self) -> None:
        """Waits for the end, after the journal was closed."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._tell_all() and not self._stopping.is_set():
                self._journal.wait(DECISIONS, after=self._inbox.taken, timeout_s=_IDLE_S)
        except ClosedError:
            return

    def _tell_all(self) -> bool:
        """Tells all that was decided and not told before; whether that works. Once it did not, nothing is told until
        the node starts again, so that nothing is left out.
        """
        with self._telling:
            if self._failed:
                return False
            try:
                if self._told is None:
                    self._inbox.open()
                    newest = self._journal.read(ALARMS, limit=1, newest_first=True)
                    self._told = int(newest[0].body["decision"]) if newest else 0
                while records := self._inbox.take():
                    self._tell([record for record in records if record.sequence > self._told])
                    self._inbox.done(records[-1].sequence)
                    self._inbox.acknowledge()
            except (ClosedError, RetryError) as error:
                self._failed = True
                logger.debug("alarms end: %s", error)
            return not self._failed

    def _tell(self, decisions: list[Record]) -> None:
        entries = [alarm for decision in decisions for alarm in alarms_of(decision, self._devices)]
        if entries:
            append_patiently(self._journal, ALARMS, entries, stopped=self._stopping)


def alarms_of(decision: Record, devices: Collection[str]) -> list[Entry]:
    """The alarms that a decision raised."""
    return [
        Entry(RAISED, _body(decision, action), decision.blobs, decision.time_ns)
        for action in decision.body.get("actions", ())
        if action.get("command") == "raise" and action.get("device") in devices
    ]


def _body(decision: Record, action: dict[str, Any]) -> dict[str, Any]:
    event = decision.body.get("event", {})
    told = {
        "decision": decision.sequence,
        "device": action["device"],
        "status": action.get("status", ""),
        "rule": decision.body.get("rule", ""),
        "source": event.get("source", ""),
        "event": event,
    }
    message = action.get("arguments", {}).get("message")
    return {**told, "message": message} if message else told
