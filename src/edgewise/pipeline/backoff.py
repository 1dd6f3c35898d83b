"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Callable

# Short enough that a camera that was unplugged for a moment is back at once, long enough that a hundred nodes that
# lost the same broker do not keep it from starting.
FIRST_S = 0.5
LONGEST_S = 30.0
FACTOR = 2.0


class Backoff:
    """Exponential backoff with full jitter: a uniform share of ``FIRST_S``, ``2 * FIRST_S``, ... ``LONGEST_S``, but
    never less than a fifth of it, so that nothing spins.

    Args:
        uniform: Source of randomness in 0..1.
    """

    def __init__(self, uniform: Callable[[], float] = random.random) -> None:
        self._uniform = uniform
        self._ceiling_s = FIRST_S

    def next(self) -> float:
        """Seconds to wait now; the next wait will be longer."""
        ceiling = self._ceiling_s
        self._ceiling_s = min(ceiling * FACTOR, LONGEST_S)
        return ceiling * (0.2 + 0.8 * self._uniform())

    def reset(self) -> None:
        """It worked: the next wait is short again."""
        self._ceiling_s = FIRST_S
