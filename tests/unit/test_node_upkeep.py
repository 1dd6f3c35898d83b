"""A node keeps house: what fails in one round is tried again in the next."""

import threading

from edgewise.errors import StorageFullError
from edgewise.node.upkeep import Upkeep


def test_a_round_that_fails_does_not_end_the_upkeep() -> None:
    rounds: list[int] = []
    third = threading.Event()

    def task() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 3:
            third.set()
        if len(rounds) == 1:
            raise StorageFullError("no space")

    upkeep = Upkeep(task, interval_s=0.001)
    upkeep.start()
    assert third.wait(10)
    upkeep.stop()
    done = len(rounds)
    assert done >= 3
    assert len(rounds) == done
