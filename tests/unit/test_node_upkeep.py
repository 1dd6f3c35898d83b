"""A node keeps house: what fails in one round is tried again in the next."""

import threading

from edgewise.errors import StorageFullError
from edgewise.node.upkeep import Upkeep


def test_a_round_that_fails_does_not_end_the_upkeep() -> None:
    rounds: list[int] = []
    fourth = threading.Event()

    def task() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 4:
            fourth.set()
        if len(rounds) == 1:
            raise StorageFullError("no space")
        if len(rounds) == 2:
            raise ValueError("nobody thought of this")

    upkeep = Upkeep(task, interval_s=0.001)
    upkeep.start()
    assert fourth.wait(10)
    upkeep.stop()
    done = len(rounds)
    assert done >= 4
    assert len(rounds) == done
