"""How often somebody may try to sign in: pure, the time is passed in.

After a few free tries each further one has to wait, twice as long as the one before, up to a bound. Counted are the
account that is tried and the address it is tried from, each on its own; a name that nobody has is counted as any other.

Counts stand in a table of fixed size, twice under two keyed hashes, and the smaller wait counts (a count-min sketch).
So no flood of names pushes a count out to begin anew: at worst somebody waits who need not, for no longer than the
bound, and only when both their places are shared. Nobody who guesses knows the key, and so which names share.
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading

from edgewise.errors import ThrottledError

ROWS = 2
PLACES = 2048
FREE_OF_ACCOUNT = 5
FREE_OF_ADDRESS = 20
FIRST_WAIT_S = 1.0
MAX_WAIT_S = 60.0
# After so long without a try all is forgiven.
FORGIVEN_S = 15 * 60.0


class SignInLimiter:
    """Counts tries. Safe for threads.

    Args:
        key: Random bytes, new at each start.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]
        self._lock = threading.Lock()
        self._tries = [[0] * PLACES for _ in range(ROWS)]
        self._last_s = [[float("-inf")] * PLACES for _ in range(ROWS)]

    def attempt(self, name: str, address: str, *, now_s: float) -> None:
        """Counts a try before it is made, so that many at once are no way around it.

        Args:
            name: The account's, folded; empty when it is tried with a token.
            address: Where from.
            now_s: Monotonic.

        Raises:
            ThrottledError: It is too early; it was not counted. Facts: ``retry_after_s``.
        """
        with self._lock:
            wait_s = max(self._wait_s(*counted, now_s=now_s) for counted in _counted(name, address))
            if wait_s > 0:
                raise ThrottledError(
                    "Too many tries to sign in",
                    hint=f"Wait {wait_s:.0f} s, then try again.",
                    retry_after_s=int(wait_s) + 1,
                )
            for what, _ in _counted(name, address):
                for row, place in enumerate(self._places(what)):
                    if now_s - self._last_s[row][place] > FORGIVEN_S:
                        self._tries[row][place] = 0
                    self._tries[row][place] += 1
                    self._last_s[row][place] = now_s

    def succeeded(self, name: str, address: str) -> None:
        """Takes back the try that was the right one. Those before it still count: they were somebody's."""
        with self._lock:
            for what, _ in _counted(name, address):
                for row, place in enumerate(self._places(what)):
                    self._tries[row][place] = max(0, self._tries[row][place] - 1)

    def _wait_s(self, what: str, free: int, *, now_s: float) -> float:
        waits = []
        for row, place in enumerate(self._places(what)):
            since_s = now_s - self._last_s[row][place]
            beyond = self._tries[row][place] - free
            due_s = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** min(beyond, 16)) if beyond >= 0 else 0.0
            waits.append(0.0 if since_s > FORGIVEN_S else due_s - since_s)
        return min(waits)

    def _places(self, what: str) -> list[int]:
        digest = hashlib.blake2b(what.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8 * ROWS).digest()
        return [int.from_bytes(digest[8 * row : 8 * row + 8]) % PLACES for row in range(ROWS)]


def _counted(name: str, address: str) -> list[tuple[str, int]]:
    """What a try is counted under, with how many are free there."""
    found = [(f"address {_network(address)}", FREE_OF_ADDRESS)]
    return [*found, (f"account {name}", FREE_OF_ACCOUNT)] if name else found


def _network(address: str) -> str:
    """An address as one caller has it: of IPv6 the first half, since a household has all the rest; one of IPv4 that a
    socket for both shows as IPv6 is that of IPv4.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address) or parsed.ipv4_mapped:
        return str(getattr(parsed, "ipv4_mapped", None) or parsed)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
