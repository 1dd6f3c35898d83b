"""The journal on SQLite keeps the contract."""

import functools

from hypothesis import HealthCheck, settings

from edgewise.journal.sqlite import SqliteJournal
from edgewise.testing.journal import JournalContract
from edgewise.testing.journal_machine import journal_machine

open_journal = functools.partial(SqliteJournal, node="here")


class TestSqliteJournal(JournalContract):
    open = open_journal


TestSqliteMachine = journal_machine(open_journal, durable=True)
TestSqliteMachine.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
