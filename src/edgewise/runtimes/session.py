"""What every engine's session has in common: checked inputs, wanted outputs, and a close that waits.

An adapter derives from ``GuardedSession`` and writes two methods: ``_run`` (tensors in, tensors out, vendor errors
translated) and ``_free``. Keeping ``Session`` without it is allowed; the contract suite is what counts.
"""

from __future__ import annotations

import abc
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from edgewise.errors import ClosedError, TensorError
from edgewise.runtimes.base import check_inputs
from edgewise.types import TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array


class Gate:
    """Counts the calls inside; once closed, lets nobody in and waits until the last one has left."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise ClosedError("The session is closed", hint="Open the model again.")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside -= 1
            if self._closed:
                self._changed.notify_all()

    def close(self) -> bool:
        """Closes and waits; True for the first caller, who alone may free what the gate protects."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: self._inside == 0)
        return first


class GuardedSession(abc.ABC):
    """A ``Session`` whose subclass only runs tensors that fit.

    Args:
        inputs: Input tensors in the artifact's order.
        outputs: Output tensors in the artifact's order.
        provider: What it really runs on.
        fallback: Why not on the provider that was asked for; empty when it does.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        provider: str = "cpu",
        fallback: str = "",
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.provider = provider
        self.fallback = fallback
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
