"""What the audit log holds of a change over HTTP: who, from where, what, and what came of it.

The front writes it once the outcome is known and before it is answered, so that a change that was confirmed is in the
log. Handlers add what the path does not say with ``note``; nothing secret.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise.accounts.permissions import Principal
    from edgewise.api.wire import Scope

# Where a request's scope holds what the guard found out, and what handlers noted.
PASSED = "edgewise.passed"
NOTES = "edgewise.notes"
# Of what one caller is refused or fails at.
MOST_A_MINUTE = 60
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


def note(scope: Scope, **facts: Any) -> None:
    """Adds facts to what the audit log will hold of a request."""
    scope.setdefault(NOTES, {}).update(facts)


class Restraint:
    """Keeps anybody from washing the log out with what they are refused or fail at: of each caller so many a minute are
    written, and the next one says how many were left out. Changes that were made are always written.
    """

    def __init__(self) -> None:
        self._minute = 0
        self._written: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()

    def count(self, name: str, *, now_s: float) -> int | None:
        """Counts one; how many of the caller's were left out before it, or None when it is to be left out too.

        Args:
            name: Of the account; empty for all who have none together, so there are no more names than accounts.
            now_s: Monotonic.
        """
        if (minute := int(now_s // 60)) != self._minute:
            self._minute = minute
            self._written.clear()
        if self._written[name] >= MOST_A_MINUTE:
            self._left_out[name] += 1
            return None
        self._written[name] += 1
        return self._left_out.pop(name, 0)


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
