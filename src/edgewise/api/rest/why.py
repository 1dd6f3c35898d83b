"""``/v1/events/{sequence}/why`` and ``/v1/decisions/audit``: why, and whether anybody touched the record of it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import PathParameter

from edgewise.api.rest.context import Context, Injected, blocking
from edgewise.node.organs import check_decisions
from edgewise.node.sealing import Report
from edgewise.node.why import Explainer, Explanation

_TAGS = ["events"]


class DecisionsAudit(msgspec.Struct, frozen=True):
    """Whether the chain of decisions is intact, with what was found."""

    intact: bool
    report: Report


@get("/v1/events/{sequence:int}/why", tags=_TAGS)
async def explain_event(context: Injected, sequence: Annotated[int, PathParameter(ge=1)]) -> Explanation:
    """Explains an event and does it again: the models on the very picture, the rules on what they read. Nothing is
    commanded.
    """
    return await context.jobs.run(_explainer(context).explain, sequence)


@get("/v1/decisions/audit", tags=_TAGS)
@blocking
def audit_decisions(context: Injected) -> DecisionsAudit:
    """Follows the chain of decisions and finds every record that was edited, removed or moved."""
    report = check_decisions(context.node.settings, context.node.journal)
    return DecisionsAudit(report.intact, report)


def _explainer(context: Context) -> Explainer:
    node = context.node
    return Explainer(
        node.journal,
        blob=node.blobs.get,
        repository=node.repository,
        people=node.people,
        rules=node.settings.rules,
        location=node.settings.node.location,
    )


HANDLERS = (explain_event, audit_decisions)
