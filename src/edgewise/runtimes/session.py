"""What every engine's session has in common: checked inputs, wanted outputs, a close that waits, and a pool for
interpreters that are not safe for threads.

An adapter derives from ``GuardedSession`` and writes two methods: ``_run`` (tensors in, tensors out, vendor errors
translated) and ``_free``. Keeping ``Session`` without it is allowed; the contract suite is what counts.
"""

from __future__ import annotations

import abc
import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from edgewise.errors import ClosedError, EngineError, TensorError
from edgewise.runtimes.base import check_inputs
from edgewise.types import DATATYPES, TensorSpec

if TYPE_CHECKING:
    from edgewise.runtimes.providers import Choice
    from edgewise.types import Array, Datatype

_BY_NUMPY = {name: cast("Datatype", datatype) for datatype, name in DATATYPES.items()}


def tensor_spec(name: str, numpy_name: str, shape: Iterable[int]) -> TensorSpec:
    """Describes a tensor of an engine by numpy's name of its datatype.

    Raises:
        EngineError: It is of a type that has no name in the Open Inference Protocol, such as bfloat16 or complex, or
            of a shape that cannot be.
    """
    if numpy_name not in _BY_NUMPY:
        raise EngineError(
            f"Tensor {name!r} is of type {numpy_name}, which cannot be passed in or out",
            hint="Convert the model so that it takes and gives plain tensors.",
        )
    sizes = tuple(int(size) for size in shape)
    if any(size < -1 for size in sizes):
        raise EngineError(f"Tensor {name!r} has the impossible shape {list(sizes)}")
    return TensorSpec(name, _BY_NUMPY[numpy_name], sizes)


def _distinct(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise EngineError(f"Two tensors are named {name!r}", hint="Convert the model again with distinct names.")
    return tuple(specs)


class Gate:
    """Counts the calls inside; once closed, lets nobody in and waits until the last one has left."""

    def __init__(self) -> None:
        # Taken directly by each call: a condition would take it in two more steps.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._lock:
            if self._closed:
                raise ClosedError("The session is closed", hint="Open the model again.")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._closed:
                self._changed.notify_all()

    def close(self) -> bool:
        """Closes and waits; True for the first caller, who alone may free what the gate protects."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: self._inside == 0)
        return first


Item = TypeVar("Item")


class Pool(Generic[Item]):
    """Lends each item to one thread at a time. Items are made when they are needed, up to ``limit``; the one that came
    back last is lent first, so a single caller keeps using one whose memory is warm.

    Args:
        make: Makes one more item.
        limit: Most items; further borrowers wait.
        first: An item that is there already.
    """

    def __init__(self, make: Callable[[], Item], *, limit: int, first: Item) -> None:
        self._make = make
        self._free = [first]
        self._places = threading.BoundedSemaphore(limit)

    @contextlib.contextmanager
    def lend(self) -> Iterator[Item]:
        """Lends an item for the block. One that the block failed with is thrown away: its state is unknown."""
        with self._places:
            try:
                item = self._free.pop()
            except IndexError:
                item = self._make()
            yield item
            self._free.append(item)

    def clear(self) -> None:
        """Lets go of all items. Nobody may be borrowing."""
        self._free.clear()


def parallel_calls(threads: int) -> int:
    """How many calls of ``threads`` threads each can run at once on the cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)) // threads)


class GuardedSession(abc.ABC):
    """A ``Session`` whose subclass only runs tensors that fit.

    Args:
        inputs: Input tensors in the artifact's order.
        outputs: Output tensors in the artifact's order.
        choice: What it runs on, and why not on what was asked for.
    """

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], choice: Choice) -> None:
        self.inputs = _distinct(inputs)
        self.outputs = _distinct(outputs)
        self.provider, self.fallback = choice
        self._output_names = tuple(spec.name for spec in outputs)
        self._gate = Gate()

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See ``Session.infer``."""
        with self._gate:
            wanted = self._output_names if outputs is None else self._wanted(outputs)
            check_inputs(self.inputs, inputs)
            return dict(zip(wanted, self._run(inputs, wanted), strict=True))

    def close(self) -> None:
        """See ``Session.close``."""
        if self._gate.close():
            self._free()

    @abc.abstractmethod
    def _run(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> Sequence[Array]:
        """Runs the model on inputs that fit; returns new arrays for the ``wanted`` output names, in that order."""

    @abc.abstractmethod
    def _free(self) -> None:
        """Lets go of the model. Called once, when no call is under way."""

    def _wanted(self, outputs: Sequence[str]) -> tuple[str, ...]:
        if outputs == self._output_names:
            return self._output_names
        for name in outputs:
            if name not in self._output_names:
                names = ", ".join(self._output_names)
                raise TensorError(
                    f"No output is named {name!r}",
                    hint=f"Outputs: {names}",
                    tensor=name,
                    expected=list(self._output_names),
                    actual=name,
                )
        return tuple(dict.fromkeys(outputs))
