"""What the audit log holds of a change over HTTP: who, from where, what, and what came of it.

The front writes it once the outcome is known and before it is answered, so that a change that was confirmed is in the
log. Handlers add what the path does not say with ``note``; nothing secret.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise.accounts.permissions import Principal
    from edgewise.api.wire import Scope

# Where a request's scope holds what the guard found out, and what handlers noted.
PASSED = "edgewise.passed"
NOTES = "edgewise.notes"
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


def note(scope: Scope, **facts: Any) -> None:
    """Adds facts to what the audit log will hold of a request."""
    scope.setdefault(NOTES, {}).update(facts)


def facts_of(
    principal: Principal | None, client: tuple[str, int] | None, *, status: int, what: dict[str, Any]
) -> dict[str, Any]:
    """The facts of one change, as they stand in the log."""
    outcome = "done" if status < HTTPStatus.BAD_REQUEST else "refused" if status in _REFUSED else "failed"
    return {
        "who": principal.name if principal else "",
        "via": principal.via.value if principal else "",
        "from": client[0] if client else "",
        "outcome": outcome,
        "status": int(status),
        "what": what,
    }
