"""The journal on disk keeps the contract."""

import functools

from hypothesis import HealthCheck, settings

from edgewise.journal.base import WhenFull
from edgewise.journal.cipher import KeyCipher
from edgewise.journal.disk import DiskJournal
from edgewise.testing.custody import CustodyContract
from edgewise.testing.custody_machine import custody_machine
from edgewise.testing.journal import JournalContract
from edgewise.testing.journal_machine import journal_machine

open_journal = functools.partial(DiskJournal, node="here")
open_with_small_segments = functools.partial(DiskJournal, node="here", segment_bytes=600)


class TestDiskJournal(JournalContract):
    open = open_journal


class TestDiskJournalOfSmallSegments(JournalContract):
    """Segments are full, compacted and removed all the time."""

    open = open_with_small_segments


TestDiskMachine = journal_machine(open_journal, durable=True)
TestDiskMachine.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


TestDiskMachineOfSmallSegments = journal_machine(open_with_small_segments, durable=True)
TestDiskMachineOfSmallSegments.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestSealedDiskJournal(JournalContract):
    """What is on the disk is encrypted."""

    open = functools.partial(DiskJournal, node="here", cipher=KeyCipher(b"k" * 32), segment_bytes=2000)


class TestDiskCustody(CustodyContract):
    open = DiskJournal


class TestDiskCustodyOfSmallSegments(CustodyContract):
    open = functools.partial(DiskJournal, segment_bytes=600)


class TestSealedDiskCustody(CustodyContract):
    open = functools.partial(DiskJournal, cipher=KeyCipher(b"k" * 32))


TestDiskCustodyMachine = custody_machine(functools.partial(DiskJournal, segment_bytes=2000), durable=True)
TestDiskCustodyMachineOfThinStreams = custody_machine(
    functools.partial(DiskJournal, segment_bytes=2000), durable=True, when_full=WhenFull.THIN
)
TestDiskCustodyMachine.settings = TestDiskCustodyMachineOfThinStreams.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
