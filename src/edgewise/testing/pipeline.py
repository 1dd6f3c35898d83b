"""The contract suite of the ``Source`` seam, and simulators for pipelines.

A new source is tested by a subclass of the suite that fits what it reads from: ``SourceContract``, or where the origin
may be silent, does not wait, or can break off ``WaitingSourceContract``, ``BoundedSourceContract``,
``ConnectedSourceContract``, each of which holds those before it::

    class TestMySource(SourceContract):
        def make(self, tmp_path, clock):        # a source that gives at least three samples
            return MySource("porch", MySettings(...), clock=clock)

        def make_broken(self, tmp_path, clock):  # one whose origin is not there
            return MySource("porch", MySettings(path="/none"), clock=clock)
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgewise._lib.clock import Clock, SystemClock
from edgewise.errors import DecodeError, NotFoundError, UnavailableError
from edgewise.pipeline.base import Frame, Gives, Observation, Reading, Sample, Sound, Source

if TYPE_CHECKING:
    from edgewise.types import Image

# Far above what anything here takes, far below what a person would wait for.
PATIENCE_S = 10.0
NAME = "porch"


class SourceContract:
    """What every source promises."""

    samples_wanted = 3

    def make(self, tmp_path: Path, clock: Clock) -> Source:
        """A source named ``porch`` that gives at least ``samples_wanted`` samples without being asked."""
        raise NotImplementedError

    def make_broken(self, tmp_path: Path, clock: Clock) -> Source | None:
        """One whose origin is not there; None for a source that has no origin."""
        raise NotImplementedError

    @pytest.fixture
    def source(self, tmp_path: Path) -> Iterator[Source]:
        """The source under test, closed afterwards."""
        source = self.make(tmp_path, SystemClock())
        yield source
        source.close()

    def test_samples_are_numbered_and_of_the_kind_that_the_source_states(self, source: Source) -> None:
        """Numbers count from 1, those that were dropped included; times do not go back; pictures are RGB, sound lies in
        -1..1.
        """
        samples = list(itertools.islice(source.read(), self.samples_wanted))
        _check_numbers([sample.number for sample in samples], dropped=source.dropped)
        assert {sample.source for sample in samples} == {NAME}
        assert [sample.time_ns for sample in samples] == sorted(sample.time_ns for sample in samples)
        for sample in samples:
            _check_sample(source.gives, sample)

    def test_closing_from_another_thread_ends_it_soon(self, source: Source) -> None:
        """A reader that waits for the next sample is let go."""
        ended = threading.Event()
        started = threading.Event()

        def read() -> None:
            for _ in source.read():
                started.set()
            ended.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        assert started.wait(PATIENCE_S)
        source.close()
        assert ended.wait(0.5)
        thread.join()

    def test_closing_twice_is_fine_and_it_stays_closed(self, source: Source) -> None:
        """A closed source gives nothing more."""
        source.close()
        source.close()
        assert list(source.read()) == []

    def test_making_it_opens_nothing_and_a_missing_origin_is_told_with_a_hint(self, tmp_path: Path) -> None:
        """Errors come from ``read``, as one of the seam's, and say what to do."""
        source = self.make_broken(tmp_path, SystemClock())
        if source is None:
            pytest.skip("it has no origin that could be missing")
        with pytest.raises((UnavailableError, NotFoundError, DecodeError)) as caught:
            next(iter(source.read()))
        assert caught.value.hint


class WaitingSourceContract(SourceContract):
    """What a source promises beyond, whose origin may have nothing to give for a while."""

    def hush(self) -> None:
        """Makes the origin give nothing more, without breaking off; unless it gives just ``samples_wanted``."""

    def test_closing_while_nothing_comes_ends_it_soon(self, source: Source) -> None:
        """A reader that waits for a silent origin is let go within half a second."""
        samples = source.read()
        for _ in range(self.samples_wanted):
            next(samples)
        self.hush()
        ended = threading.Event()

        def read() -> None:
            with contextlib.suppress(UnavailableError):
                for _ in samples:
                    pass
            ended.set()

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        assert not ended.wait(0.2)
        source.close()
        assert ended.wait(0.5)
        thread.join()


class BoundedSourceContract(WaitingSourceContract):
    """What a source promises beyond, whose origin does not wait for us."""

    def flood(self) -> None:
        """Makes the origin give more than the source lets wait; returns when it has."""
        raise NotImplementedError

    def test_of_what_waits_the_newest_win_and_the_others_are_counted(self, source: Source) -> None:
        """A slow reader gets what is new, not what it was too slow for."""
        samples = source.read()
        next(samples)
        self.flood()
        after = next(samples)
        assert source.dropped > 0
        assert 2 < after.number <= 2 + source.dropped


class ConnectedSourceContract(BoundedSourceContract):
    """What a source promises beyond, that keeps a connection."""

    def cut(self) -> None:
        """Takes the origin away, so that the connection breaks."""
        raise NotImplementedError

    def mend(self) -> None:
        """Brings the origin back; it gives samples again."""
        raise NotImplementedError

    def test_what_broke_off_is_told_with_a_hint_and_goes_on_counting_when_read_again(self, source: Source) -> None:
        """The runner reads again after ``UnavailableError``."""
        samples = source.read()
        last = next(samples).number
        self.cut()
        with pytest.raises(UnavailableError) as caught:
            last += sum(1 for _ in samples)
        assert caught.value.hint
        self.mend()
        again = next(_patiently(source))
        assert again.number > last


def _check_numbers(numbers: Sequence[int], *, dropped: int) -> None:
    assert numbers[0] >= 1
    assert all(earlier < later for earlier, later in itertools.pairwise(numbers))
    assert numbers[-1] - len(numbers) <= dropped


def _patiently(source: Source) -> Iterator[Sample]:
    """Reads as the runner does, until the origin is back."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            yield from source.read()
            return
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _check_sample(gives: Gives, sample: Sample) -> None:
    match sample:
        case Frame(image=image):
            assert gives is Gives.FRAME
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
        case Sound(samples=samples, rate=rate):
            assert gives is Gives.SOUND
            assert samples.dtype == np.float32
            assert samples.ndim == 1
            assert samples.size
            assert np.abs(samples).max() <= 1
            assert rate > 0
        case Reading(values=values):
            assert gives is Gives.READING
            assert values
            assert all(value is None or not isinstance(value, float) or np.isfinite(value) for value in values.values())


class ScriptedSource:
    """A source for tests of what stands behind it: gives the pictures and raises the errors of a script, in order.

    Args:
        script: Pictures; an exception is raised instead (a later ``read`` goes on behind it); a callable is called.
        live: See ``Source``.
        hold: Keeps ``read`` open after the script until it is closed, as a camera would.
    """

    gives = Gives.FRAME

    def __init__(
        self,
        script: Sequence[Image | Exception | Callable[[], object]],
        *,
        clock: Clock,
        live: bool = False,
        hold: bool = False,
    ) -> None:
        self.name = NAME
        self.live = live
        self.dropped = 0
        self.unreadable = 0
        self.opened = 0
        self._script = iter(script)
        self._clock = clock
        self._number = 0
        self._hold = hold
        self._closed = threading.Event()

    def read(self) -> Iterator[Frame]:
        """Plays the script."""
        self.opened += 1
        for item in self._script:
            if self._closed.is_set():
                return
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item()
                continue
            self._number += 1
            yield Frame(self.name, self._number, self._clock.time_ns(), item)
        if self._hold:
            self._closed.wait()

    def close(self) -> None:
        """Ends it."""
        self._closed.set()


class FunctionTransform:
    """A transform made of a function."""

    takes = frozenset(Gives)

    def __init__(self, function: Callable[[Observation], Observation], name: str = "function") -> None:
        self.name = name
        self._function = function

    def apply(self, observation: Observation) -> Observation:
        """Calls the function."""
        return self._function(observation)


def picture(value: int = 0, *, width: int = 64, height: int = 48) -> Image:
    """A picture of one grey."""
    return np.full((height, width, 3), value, np.uint8)
