"""Listening: a model that is given a stream of sound piece by piece, and says what it makes of each window of it.

Everything it needs stands in the manifest: features, window, how far one window lies behind the other, and what the
model remembers (``state``). So a stream is the same on a microphone, in a file, and in the golden data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from edgewise.errors import InputError
from edgewise.media.sound import Resampler
from edgewise.models.manifest import Input, Manifest
from edgewise.models.preprocess import Preprocessor, window_length
from edgewise.models.tasks.base import Context
from edgewise.types import DATATYPES

if TYPE_CHECKING:
    from edgewise.models.model import Model
    from edgewise.types import Array, Result


class Heard(msgspec.Struct, frozen=True):
    """What a model made of one window.

    Attributes:
        end_s: Where the window ends, seconds from the beginning of the stream.
        result: As of ``Model.predict``.
    """

    end_s: float
    result: Result


class Stream:
    """One stream of sound through a model. Not safe for threads; any number of streams may share a model.

    Args:
        model: Listens, see ``Manifest.state`` and ``Input.step``.
        rate: Of the samples that will be fed, Hz; the model's own when None.

    Attributes:
        inputs: The tensors that the newest window was computed from, those it remembered among them.
        outputs: What came out.

    Raises:
        InputError: The model does not listen to streams.
        MissingExtraError: The extra ``audio`` is not installed.
    """

    def __init__(self, model: Model, *, rate: int | None = None) -> None:
        self._model = model
        self._spec = listening_input(model.manifest)
        self._preprocessor = Preprocessor(self._spec)
        self._length = window_length(self._spec)
        self._rate = int(rate or self._spec.rate_hz)
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        self.reset()

    def reset(self) -> None:
        """Forgets everything, as after a gap: what is fed next begins a new stream."""
        import numpy as np

        self._front = self._preprocessor.front()
        self._resampler = Resampler(self._rate, int(self._spec.rate_hz))
        shape = self._front.feed(np.zeros(0, np.float32)).shape[1:]
        self._pending = np.zeros((self._spec.lead, *shape), np.float32)
        self._state = start_state(self._model.manifest)
        self._windows = 0

    def feed(self, samples: Array, *, listen: bool = True) -> list[Heard]:
        """Listens to the next piece, of any length.

        Args:
            samples: ``float32 [n]``, one channel, -1..1.
            listen: False keeps what later windows need, but computes none: nearly free. A model that remembers always
                listens.

        Returns:
            One entry for each window that these samples complete, in order.

        Raises:
            TensorError: These are no samples.
            EngineError: The engine failed.
            ClosedError: The model was closed.
        """
        import numpy as np

        frames = self._front.feed(self._resampler.feed(self._preprocessor.samples(samples)))
        pending = np.concatenate([self._pending, frames])
        found = []
        while len(pending) >= self._length:
            if listen or self._state:
                found.append(self._hear(pending[: self._length]))
            pending = pending[self._spec.step :]
            self._windows += 1
        self._pending = pending
        return found

    @property
    def least(self) -> int:
        """Samples, at the model's rate, that fill the first window."""
        return (self._length - self._spec.lead - 1) * self._front.step + self._front.frame

    def outputs_of(self, samples: Array) -> Iterator[dict[str, Array]]:
        """The output tensors for each window of a whole clip at the model's rate."""
        import numpy as np

        frames = np.concatenate([self._pending, self._front.feed(samples)])
        starts = range(0, len(frames) - self._length + 1, self._spec.step)
        return (self._infer(frames[start : start + self._length]) for start in starts)

    def _infer(self, window: Array) -> dict[str, Array]:
        self.inputs = {self._spec.name: self._preprocessor.window(window), **self._state}
        self.outputs = self._model.infer(self.inputs)
        self._state = {state.input: self.outputs[state.output] for state in self._model.manifest.state}
        return self.outputs

    def _hear(self, window: Array) -> Heard:
        [result] = self._model.decode(self._infer(window), Context((None,)))
        last = self._windows * self._spec.step + self._length - self._spec.lead - 1
        return Heard((last * self._front.step + self._front.frame) / self._spec.rate_hz, result)


def listening_input(manifest: Manifest) -> Input:
    """The input that takes a stream.

    Raises:
        InputError: There is none.
    """
    for spec in manifest.inputs:
        if spec.kind == "audio" and spec.step:
            return spec
    raise InputError(
        f"{manifest.name} does not listen to a stream of sound",
        hint="Models that do have an input of kind 'audio' with a 'step'.",
        model=manifest.name,
    )


def start_state(manifest: Manifest) -> dict[str, Array]:
    """What a model remembers at the beginning of a stream, by the names of its inputs."""
    import numpy as np

    specs = {spec.name: spec for spec in manifest.inputs}
    return {
        state.input: np.full(specs[state.input].shape, state.start, DATATYPES[specs[state.input].datatype])
        for state in manifest.state
    }
