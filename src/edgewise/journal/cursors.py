"""Where a consumer stands in a stream: a frozen value and the moves it can make. Pure."""

from __future__ import annotations

import msgspec

from edgewise.errors import ConflictError


class Cursor(msgspec.Struct, frozen=True):
    """One consumer of one stream.

    Attributes:
        start: Records up to here were gone when it registered; they are none of its business.
        missed: Records past ``start`` that were gone as well (a stream may have holes).
        acked: Everything up to here is dealt with: acknowledged, dropped or dead.
        delivered: How many records it acknowledged.
        lent_first: First record of the newest claim.
        lent: Last record of the newest claim.
        attempts: How often ``lent_first`` was lent.
        lease_until: When the lease ends, on the monotonic clock of this process.
    """

    start: int
    missed: int
    acked: int
    delivered: int = 0
    lent_first: int = 0
    lent: int = 0
    attempts: int = 0
    lease_until: float = 0.0

    def leased(self, now: float) -> bool:
        """Whether records are lent and the lease runs."""
        return self.lent > self.acked and now < self.lease_until

    def dead(self, first: int, *, max_attempts: int) -> bool:
        """Whether the next record was lent as often as it may be."""
        return self.lent_first == first and self.attempts >= max_attempts

    def share(self, first: int, *, limit: int) -> int:
        """How many records to lend, from ``first``: half as many with each retry, so that a bad one stands alone."""
        return max(1, limit >> self.attempts) if self.lent_first == first else limit

    def lend(self, first: int, last: int, *, lease_until: float) -> Cursor:
        """After records ``first``..``last`` were lent."""
        attempts = self.attempts + 1 if self.lent_first == first else 1
        return msgspec.structs.replace(self, lent_first=first, lent=last, attempts=attempts, lease_until=lease_until)

    def skip(self, dead: int) -> Cursor:
        """After the record ``dead``, its next one, was given up."""
        return msgspec.structs.replace(self, acked=dead)

    def acknowledge(self, through: int, *, kept: int, lease_until: float) -> Cursor:
        """After records up to ``through`` were acknowledged, of which ``kept`` were still stored.

        Raises:
            ConflictError: They were not lent.
        """
        self.check_lent(through)
        return msgspec.structs.replace(self, acked=through, delivered=self.delivered + kept, lease_until=lease_until)

    def advance(self, through: int, *, kept: int) -> Cursor:
        """After all up to ``through`` were acknowledged by a follower, which was lent nothing."""
        return msgspec.structs.replace(self, acked=through, delivered=self.delivered + kept)

    def check_lent(self, through: int) -> None:
        """Refuses an acknowledgement past what was lent."""
        if through > max(self.lent, self.acked):
            raise ConflictError(
                f"Records up to {through} were not claimed, only up to {max(self.lent, self.acked)}.",
                hint="Claim records before acknowledging them.",
                through=through,
                claimed=max(self.lent, self.acked),
            )

    def release(self) -> Cursor:
        """After the lease was given back."""
        return msgspec.structs.replace(self, lease_until=0.0)
