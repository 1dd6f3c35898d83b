"""The demonstration counts what happens now, not what its journal still holds from the last time."""

from types import SimpleNamespace
from typing import cast

from edgewise.journal.base import StreamSettings
from edgewise.journal.memory import MemoryJournal
from edgewise.node.demos.door import Tally
from edgewise.node.node import Node
from edgewise.types import Entry


def visit(journal: MemoryJournal) -> None:
    journal.append("events", [Entry("face.known", {}), Entry("face.unknown", {})])
    actions = [
        {"command": "unlock", "status": "done"},
        {"command": "raise", "status": "done"},
        {"command": "raise", "status": "failed"},
    ]
    journal.append("decisions", [Entry("decision.done", {"actions": actions})])


def test_only_visits_from_now_on_count() -> None:
    journal = MemoryJournal(node="door", streams={"events": StreamSettings(), "decisions": StreamSettings()})
    node = cast(Node, SimpleNamespace(journal=journal))
    visit(journal)
    tally = Tally(node)
    assert tally.now() == {"known": 0, "unknown": 0, "unlocked": 0, "alarms": 0}
    visit(journal)
    assert tally.now() == {"known": 1, "unknown": 1, "unlocked": 1, "alarms": 1}
