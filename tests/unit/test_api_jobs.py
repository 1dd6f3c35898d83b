"""Where a request is computed: on the pool, until its kind has proved quick."""

import asyncio
import threading

import pytest

from edgewise.api.jobs import QUICK_BODY_BYTES, QUICK_NS, TRIAL_CALLS, Gate, Jobs
from edgewise.errors import BusyError
from edgewise.node.pool import Pool
from edgewise.pipeline.scheduler import Scheduler


def test_a_kind_is_quick_only_after_its_trial() -> None:
    gate = Gate()
    for _ in range(TRIAL_CALLS):
        assert not gate.quick
        gate.took(QUICK_NS // 10)
    assert gate.quick


def test_waiting_for_the_interpreter_does_not_spoil_a_trial_but_slowness_does() -> None:
    waiting, slow = Gate(), Gate()
    for number in range(TRIAL_CALLS):
        waiting.took(QUICK_NS // 10 if number == 5 else 50 * QUICK_NS)
        slow.took(2 * QUICK_NS)
    assert waiting.quick
    assert not slow.quick


def test_a_stolen_core_is_forgiven_but_slow_calls_send_a_kind_back_to_the_pool() -> None:
    gate = Gate()
    for _ in range(100):
        gate.took(QUICK_NS // 10)
    gate.took(100 * QUICK_NS)
    assert gate.quick
    for _ in range(12):
        gate.took(2 * QUICK_NS)
    assert not gate.quick


def test_quick_calls_move_to_the_loop_and_large_ones_stay_on_the_pool() -> None:
    pool = Pool(Scheduler(cores=1))

    async def threads() -> list[str]:
        jobs = Jobs(pool)

        async def run(size: int) -> str:
            return await jobs.run_quickest("echo", size, lambda: threading.current_thread().name)

        names = [await run(10) for _ in range(TRIAL_CALLS * 4)]
        return [names[0], names[-1], await run(QUICK_BODY_BYTES + 1)]

    first, last, large = asyncio.run(threads())
    assert first.startswith("pool")
    assert last == threading.current_thread().name
    assert large.startswith("pool")
    pool.close()


def test_a_full_pool_refuses_at_once() -> None:
    pool = Pool(Scheduler(cores=1), max_waiting=1)
    release = threading.Event()

    async def story() -> None:
        jobs = Jobs(pool)
        running = [asyncio.ensure_future(jobs.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        assert pool.waiting == 1
        with pytest.raises(BusyError):
            await jobs.run(release.wait)
        release.set()
        await asyncio.gather(*running)

    asyncio.run(story())
    pool.close()
