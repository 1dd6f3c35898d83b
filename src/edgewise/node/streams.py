"""The streams of a node's journal, by name."""

from __future__ import annotations

ALARMS = "alarms"
EVENTS = "events"
DECISIONS = "decisions"
READINGS = "readings"
AUDIT = "audit"
QUERIES = "queries"

STREAMS = (ALARMS, EVENTS, DECISIONS, READINGS, AUDIT, QUERIES)

ADMINS_STREAMS = (AUDIT, QUERIES)
"""Who did what: for admins alone, wherever it can be read."""
