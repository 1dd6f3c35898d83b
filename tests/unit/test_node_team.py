"""Several nodes do items together: results in order, no matter who stumbles, and nothing goes on for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from edgewise._lib.clock import SystemClock
from edgewise.errors import EdgewiseError, InputError, UnavailableError
from edgewise.node.team import Team


class Nodes:
    """Nodes ``a`` and ``b``, one place each, that do what the test says."""

    def __init__(self, does: Callable[[str, int], int | EdgewiseError | None]) -> None:
        self.does = does
        self.begun: list[tuple[str, int]] = []
        self.called_off: list[int] = []
        self.places = {"a": 1, "b": 1}
        self.team: Team[int, int] = Team(run=self.run, places=lambda: self.places, clock=SystemClock())

    async def run(self, node: str, item: int) -> int:
        self.begun.append((node, item))
        told = self.does(node, item)
        await asyncio.sleep(0)
        if told is None:  # it hangs
            try:
                await asyncio.Event().wait()
            finally:
                self.called_off.append(item)
        if isinstance(told, EdgewiseError):
            raise told
        assert told is not None
        return told


def test_results_come_in_the_order_of_the_items() -> None:
    nodes = Nodes(lambda _, item: 10 * item)
    done = asyncio.run(nodes.team.do(range(20)))
    assert [result for _, result in done] == [10 * item for item in range(20)]
    assert {node for node, _ in done} == {"a", "b"}


def test_what_one_node_cannot_do_another_does() -> None:
    nodes = Nodes(lambda node, item: UnavailableError("gone") if node == "a" else item)
    done = asyncio.run(nodes.team.do(range(5)))
    assert done == [("b", item) for item in range(5)]


def test_what_nobody_can_do_is_told_as_it_failed() -> None:
    nodes = Nodes(lambda node, _: UnavailableError(f"{node} is gone"))
    with pytest.raises(UnavailableError, match="is gone"):
        asyncio.run(nodes.team.do([1]))
    nodes.places = {}
    with pytest.raises(UnavailableError, match="No node"):
        asyncio.run(nodes.team.do([1]))


def test_one_wrong_item_ends_it_for_all_and_what_runs_is_called_off() -> None:
    nodes = Nodes(lambda _, item: InputError("wrong") if item == 1 else None)

    async def story() -> None:
        with pytest.raises(InputError, match="wrong"):
            await nodes.team.do([0, 1, 2, 3])
        await asyncio.sleep(0)

    asyncio.run(story())
    assert nodes.called_off == [0]
    assert len(nodes.begun) <= 3


def test_who_gives_up_frees_the_nodes_for_others() -> None:
    nodes = Nodes(lambda _, item: None if item < 10 else item)

    async def story() -> None:
        given_up = asyncio.create_task(nodes.team.do([0, 1, 2]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert [result for _, result in await asyncio.wait_for(nodes.team.do([10, 11]), 5)] == [10, 11]

    asyncio.run(story())
    assert sorted(nodes.called_off) == [0, 1]
    assert 2 not in [item for _, item in nodes.begun]
