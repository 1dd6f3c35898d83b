"""The journal in memory keeps the contract, but for durability."""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from edgewise.journal.base import WhenFull
from edgewise.journal.memory import MemoryJournal
from edgewise.testing.custody import CustodyContract
from edgewise.testing.custody_machine import custody_machine
from edgewise.testing.journal import JournalContract
from edgewise.testing.journal_machine import journal_machine


def open_journal(folder: Path, **settings: Any) -> MemoryJournal:
    return MemoryJournal(node="here", **settings)


class TestMemoryJournal(JournalContract):
    open = open_journal
    durable = False


TestMemoryMachine = journal_machine(open_journal, durable=False)
TestMemoryMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestMemoryCustody(CustodyContract):
    durable = False

    @staticmethod
    def open(folder: Path, **settings: Any) -> MemoryJournal:
        return MemoryJournal(**settings)


def open_for(folder: Path, **settings: Any) -> MemoryJournal:
    return MemoryJournal(**settings)


TestMemoryCustodyMachine = custody_machine(open_for, durable=False)
TestMemoryCustodyMachineOfThinStreams = custody_machine(open_for, durable=False, when_full=WhenFull.THIN)
TestMemoryCustodyMachine.settings = TestMemoryCustodyMachineOfThinStreams.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
