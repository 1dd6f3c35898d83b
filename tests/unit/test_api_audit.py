"""What the audit log holds, and what nobody can do to it."""

from __future__ import annotations

import pytest

from edgewise.accounts.permissions import Principal, Role, Via
from edgewise.api.audit import MOST_A_MINUTE, Restraint, facts_of

VERA = Principal("vera", Role.VIEWER, Via.SESSION, credential="a secret's digest")


def test_nobody_washes_the_log_out_with_what_they_are_refused() -> None:
    restraint = Restraint()
    written = [restraint.count("vera", now_s=0.001 * number) for number in range(5000)]
    assert written.count(0) == MOST_A_MINUTE
    assert written.count(None) == 5000 - MOST_A_MINUTE
    assert restraint.count("ada", now_s=5.0) == 0
    assert restraint.count("vera", now_s=61.0) == 5000 - MOST_A_MINUTE
    assert restraint.count("vera", now_s=61.0) == 0


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "done"), (204, "done"), (401, "refused"), (403, "refused"), (404, "failed"), (507, "failed")],
)
def test_the_outcome_is_told_in_a_word(status: int, outcome: str) -> None:
    facts = facts_of(VERA, ("10.0.0.7", 5000), status=status, what={"device": "front"})
    assert facts == {
        "who": "vera",
        "via": "session",
        "from": "10.0.0.7",
        "outcome": outcome,
        "status": status,
        "what": {"device": "front"},
    }
    assert facts_of(None, None, status=status, what={})["who"] == ""
