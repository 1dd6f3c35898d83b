"""What all sessions are built from: the gate that close waits at, and the pool of interpreters."""

import threading

import pytest

from edgewise.errors import ClosedError, EngineError
from edgewise.runtimes.session import Gate, Pool, tensor_spec
from edgewise.types import TensorSpec


def test_closing_the_gate_waits_until_the_last_one_has_left() -> None:
    gate, order, inside = Gate(), [], threading.Event()

    def closes() -> None:
        inside.wait()
        assert gate.close() is True
        order.append("closed")

    closer = threading.Thread(target=closes)
    closer.start()

    def enter_for_ever() -> None:
        while True:
            with gate:
                pass

    with gate:
        inside.set()
        with pytest.raises(ClosedError):  # soon: the closer is on its way
            enter_for_ever()
        order.append("left")
    closer.join()
    assert order == ["left", "closed"]
    assert gate.close() is False


def test_the_pool_makes_only_what_it_needs_and_throws_away_what_failed() -> None:
    made = iter(range(1, 10))
    pool = Pool(lambda: next(made), limit=2, first=0)
    with pool.lend() as one, pool.lend() as other:
        assert {one, other} == {0, 1}
    with pytest.raises(EngineError), pool.lend() as last:
        raise EngineError("broken")
    with pool.lend() as one, pool.lend() as other:
        assert last not in {one, other}
        assert 2 in {one, other}


def test_a_tensor_that_cannot_be_described_is_refused() -> None:
    assert tensor_spec("x", "float16", [-1, 3]) == TensorSpec("x", "FP16", (-1, 3))
    for numpy_name, shape in (("bfloat16", [1]), ("complex64", [1]), ("float32", [-2])):
        with pytest.raises(EngineError):
            tensor_spec("x", numpy_name, shape)
