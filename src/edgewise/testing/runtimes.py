"""The contract every inference engine keeps, as a pytest suite to subclass.

::

    from edgewise.testing.runtimes import RuntimeContract

    class TestMyEngine(RuntimeContract):
        location = "my_package.engine:MyEngine"
        datatypes = ("FP32", "INT64")

        @classmethod
    def make_pair(cls, folder): ...
        @classmethod
    def make_echo(cls, folder, datatype): ...
        @classmethod
    def make_heavy(cls, folder): ...

What counts threads, CPU time or survives damaged artifacts runs in another process, one for the class, so that an
engine which crashes fails a test instead of ending the run. Counting threads needs Linux.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
import pytest

from edgewise.errors import ClosedError, EdgewiseError, PackageError, TensorError
from edgewise.runtimes.base import Runtime, Session, SessionOptions
from edgewise.types import DATATYPES, Datatype, TensorSpec

if TYPE_CHECKING:
    from edgewise.types import Array

Returned = TypeVar("Returned")


class Measured(NamedTuple):
    """What one session was seen to do in a process of its own.

    Attributes:
        usual_threads: Threads that took a real share (a quarter of the busiest one's) of the CPU time of one call, as
            seen in nine of ten calls.
        most_threads: The same, as seen in the call that used most.
        settling_cpu_s: CPU time of the whole process in the 50 ms after a call: the median of ten calls.
        idle_cpu_s: The same in a third of a second, some time after the last call.
    """

    usual_threads: int
    most_threads: int
    settling_cpu_s: float
    idle_cpu_s: float


class Elsewhere:
    """Calls functions of modules in another process, which is started when it is needed, and anew after a crash."""

    def __init__(self) -> None:
        self._process: ProcessPoolExecutor | None = None

    def call(self, function: Callable[..., Returned], *arguments: object) -> Returned:
        """The function's result; a crash there is an exception here."""
        if self._process is None:
            self._process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        try:
            return self._process.submit(function, *arguments).result(timeout=150)
        except BrokenProcessPool:
            self.close()
            raise

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.shutdown()
            self._process = None


class RuntimeContract:
    """Subclass it with a name that starts with ``Test`` and write the three artifacts.

    Attributes:
        location: ``module:Class`` of the runtime.
        datatypes: What the engine can take and give.
        limits: Least and greatest value of a datatype where the engine takes less than all; beyond is TensorError.
        most_threads: 2 when it can use several threads in one call, else 1.
        settling_cpu_s: CPU time that its threads may take to fall asleep after a call.
        damages: How many artifacts with changed bytes are tried.
    """

    location: ClassVar[str]
    datatypes: ClassVar[tuple[Datatype, ...]] = ("FP32",)
    limits: ClassVar[Mapping[Datatype, tuple[int, int]]] = {}
    most_threads: ClassVar[int] = 2
    settling_cpu_s: ClassVar[float] = 0.005
    damages: ClassVar[int] = 150

    @classmethod
    def make_pair(cls, folder: Path) -> Path:
        """Writes a model of inputs ``a``, ``b`` and outputs ``total = a + b``, ``product = a * b``, in this order, all
        FP32 ``[-1, 4]``; other results are told by ``expected``.
        """
        raise NotImplementedError

    @classmethod
    def make_echo(cls, folder: Path, datatype: Datatype) -> Path:
        """Writes a model that gives its input ``x`` as output ``y``, both of the datatype and ``[-1, 3]``."""
        raise NotImplementedError

    @classmethod
    def make_heavy(cls, folder: Path) -> Path:
        """Writes a model of input ``x`` and output ``y``, FP32 ``[-1, 512]``, that multiplies by eight 512 x 512
        matrices, so that its work can be shared among threads.
        """
        raise NotImplementedError

    def expected(self, a: Array, b: Array) -> Mapping[str, Array]:
        """What the pair model gives."""
        return {"total": a + b, "product": a * b}

    # Fixtures

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Where the artifacts of the class lie."""
        return tmp_path_factory.mktemp("artifacts")

    @pytest.fixture(scope="class")
    @classmethod
    def pair(cls, folder: Path) -> Path:
        """The pair artifact."""
        return cls.make_pair(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def heavy(cls, folder: Path) -> Path:
        """The heavy artifact."""
        return cls.make_heavy(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def elsewhere(cls) -> Iterator[Elsewhere]:
        """The other process of the class."""
        process = Elsewhere()
        yield process
        process.close()

    @pytest.fixture
    def runtime(self) -> Runtime:
        """A new instance of the engine."""
        return load(self.location)

    @pytest.fixture
    def session(self, runtime: Runtime, pair: Path) -> Iterator[Session]:
        """The pair model, opened for one thread."""
        session = runtime.open(pair, SessionOptions())
        yield session
        session.close()

    # What an engine says of itself

    def test_it_has_a_name_a_version_and_the_cpu(self, runtime: Runtime) -> None:
        """``cpu`` is always there; what is not available has a reason."""
        assert runtime.name
        assert runtime.version()[0].isdigit()
        providers = runtime.providers()
        assert [provider.available for provider in providers if provider.name == "cpu"] == [True]
        assert all(provider.available or provider.reason for provider in providers)

    def test_a_provider_that_is_not_there_falls_back_to_the_cpu_and_says_why(
        self, runtime: Runtime, pair: Path
    ) -> None:
        """The fallback is visible, never silent; without one the reason is empty."""
        session = runtime.open(pair, SessionOptions(provider="quantum"))
        assert session.provider == "cpu"
        assert "quantum" in session.fallback
        session.close()
        session = runtime.open(pair, SessionOptions(provider="cpu"))
        assert (session.provider, session.fallback) == ("cpu", "")
        session.close()

    def test_it_describes_its_tensors(self, session: Session) -> None:
        """Names in the artifact's order, datatypes, and -1 for an open size."""
        assert session.inputs == (TensorSpec("a", "FP32", (-1, 4)), TensorSpec("b", "FP32", (-1, 4)))
        assert session.outputs == (TensorSpec("total", "FP32", (-1, 4)), TensorSpec("product", "FP32", (-1, 4)))

    # Right answers

    @pytest.mark.parametrize("batch", [1, 2, 7])
    def test_the_batch_is_open(self, session: Session, batch: int) -> None:
        """A batch is what the caller makes it."""
        self.check(session, *numbers(batch, seed=batch))

    def test_one_session_takes_batches_of_changing_size(self, session: Session) -> None:
        """What was sized for one batch is right for the next."""
        for batch in (1, 5, 2, 5, 1):
            self.check(session, *numbers(batch, seed=batch))

    def test_every_datatype_passes_unchanged(self, runtime: Runtime, folder: Path) -> None:
        """Values at the ends of each datatype come out as they went in."""
        for datatype in self.datatypes:
            session = runtime.open(self.make_echo(folder, datatype), SessionOptions(trusted=True))
            assert session.inputs == (TensorSpec("x", datatype, (-1, 3)),)
            sent = extremes(datatype, self.limits.get(datatype))
            received = session.infer({"x": sent})["y"]
            assert received.dtype == sent.dtype, datatype
            np.testing.assert_array_equal(received, sent, err_msg=datatype)
            if datatype in self.limits:
                assert refusal(session, {"x": extremes(datatype)}).facts["tensor"] == "x"
            session.close()

    def test_outputs_come_in_the_order_asked_for(self, session: Session) -> None:
        """Only those asked for, in that order."""
        a, b = numbers(2)
        assert list(session.infer({"a": a, "b": b})) == ["total", "product"]
        assert list(session.infer({"b": b, "a": a}, ["product", "total"])) == ["product", "total"]
        only = session.infer({"a": a, "b": b}, ["product"])
        assert list(only) == ["product"]
        np.testing.assert_allclose(only["product"], self.expected(a, b)["product"])

    def test_inputs_are_neither_modified_nor_kept(self, session: Session) -> None:
        """Arrays that must not be written to are taken, and changing them afterwards changes no result."""
        a, b = numbers(2)
        kept_a, kept_b = a.copy(), b.copy()
        a.flags.writeable = b.flags.writeable = False
        results = session.infer({"a": a, "b": b})
        np.testing.assert_array_equal(a, kept_a)
        np.testing.assert_array_equal(b, kept_b)
        a.flags.writeable = b.flags.writeable = True
        a[:] = b[:] = -1
        for name, array in self.expected(kept_a, kept_b).items():
            np.testing.assert_allclose(results[name], array, rtol=1e-6)

    def test_outputs_are_not_overwritten_by_later_calls(self, session: Session) -> None:
        """A caller may keep what it got, and write to it."""
        first = numbers(2, seed=1)
        kept = session.infer({"a": first[0], "b": first[1]})
        self.check(session, *numbers(2, seed=2))
        for name, array in self.expected(*first).items():
            np.testing.assert_allclose(kept[name], array, rtol=1e-6)
            kept[name][:] = 0
        self.check(session, *first)

    def test_an_array_that_is_not_contiguous_gives_the_right_answer(self, session: Session) -> None:
        """A transposed or strided view is a tensor as any other."""
        a, b = numbers(3)
        self.check(session, np.asfortranarray(a), np.repeat(b, 2, axis=0)[::2])

    def test_concurrent_calls_each_get_their_own_answer(self, session: Session) -> None:
        """Eight threads, each with its own numbers and batch."""

        def call(seed: int) -> None:
            self.check(session, *numbers(1 + seed % 3, seed=seed))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(call, range(80)))

    # Wrong input

    def test_a_wrong_name_is_refused(self, session: Session) -> None:
        """Unknown, missing and unknown output names, each told by name."""
        a, b = numbers(1)
        for inputs, name in (({"a": a, "b": b, "c": b}, "c"), ({"a": a}, "b")):
            assert refusal(session, inputs).facts["tensor"] == name
        with pytest.raises(TensorError) as refused:
            session.infer({"a": a, "b": b}, ["sum"])
        assert refused.value.facts["tensor"] == "sum"
        self.check(session, a, b)

    def test_a_wrong_datatype_is_refused(self, session: Session) -> None:
        """Nothing is cast silently; numbers in the other byte order are not misread."""
        a, b = numbers(1)
        facts = refusal(session, {"a": a.astype(np.float64), "b": b}).facts
        assert facts == {"tensor": "a", "expected": "FP32", "actual": "float64"}
        assert refusal(session, {"a": a, "b": b.astype(">f4")}).facts["tensor"] == "b"
        assert refusal(session, {"a": a, "b": cast("Array", b.tolist())}).facts["tensor"] == "b"
        self.check(session, a, b)

    @pytest.mark.parametrize("shape", [(4,), (1, 5), (1, 4, 1), ()])
    def test_a_wrong_shape_is_refused(self, session: Session, shape: tuple[int, ...]) -> None:
        """Wrong rank or size, with what was expected and what came."""
        a, b = numbers(1)
        facts = refusal(session, {"a": np.zeros(shape, np.float32), "b": b}).facts
        assert facts == {"tensor": "a", "expected": [-1, 4], "actual": list(shape)}
        self.check(session, a, b)

    def test_an_empty_batch_is_answered_or_refused(self, session: Session) -> None:
        """Some engines compute nothing and some refuse; none crashes, and the session lives on."""
        empty = np.zeros((0, 4), np.float32)
        with contextlib.suppress(EdgewiseError):
            assert session.infer({"a": empty, "b": empty})["total"].shape == (0, 4)
        self.check(session, *numbers(2))

    # Damaged artifacts

    def test_a_file_that_is_not_there_is_refused(self, runtime: Runtime, folder: Path) -> None:
        """Nor is a folder an artifact."""
        for path in (folder / "missing", folder):
            with pytest.raises(PackageError):
                runtime.open(path, SessionOptions())

    def test_damaged_artifacts_are_refused_and_crash_nothing(self, pair: Path, elsewhere: Elsewhere) -> None:
        """Empty, noise, cut short anywhere: refused. With bytes changed: refused, failing or working, never a crash."""
        accepted = elsewhere.call(open_damaged, self.location, pair, self.damages)
        assert accepted == []

    # Close

    def test_closing_twice_is_closing_once_and_then_nothing_runs(self, runtime: Runtime, pair: Path) -> None:
        """After close there is only ClosedError, whatever the input."""
        session = runtime.open(pair, SessionOptions())
        self.check(session, *numbers(1))
        session.close()
        session.close()
        a, b = numbers(1)
        for inputs in ({"a": a, "b": b}, {}):
            with pytest.raises(ClosedError):
                session.infer(inputs)

    def test_close_waits_for_calls_under_way(self, runtime: Runtime, pair: Path) -> None:
        """Each call ends with its answer or with ClosedError, never with something else."""
        session = runtime.open(pair, SessionOptions())
        all_called = threading.Barrier(5)

        def call_for_ever(seed: int) -> None:
            self.check(session, *numbers(1, seed=seed))
            all_called.wait()
            while True:
                self.check(session, *numbers(1, seed=seed))

        with ThreadPoolExecutor(4) as threads:
            callers = [threads.submit(call_for_ever, seed) for seed in range(4)]
            all_called.wait()
            session.close()
            for caller in callers:
                with pytest.raises(ClosedError):
                    caller.result()

    def test_another_session_of_the_same_artifact_outlives_a_closed_one(self, runtime: Runtime, pair: Path) -> None:
        """Sessions share nothing that closing one takes from the other."""
        one, other = runtime.open(pair, SessionOptions()), runtime.open(pair, SessionOptions())
        one.close()
        self.check(other, *numbers(2))
        other.close()

    # Threads and CPU time

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads_are_as_many_as_asked_for_and_idle_between_calls(
        self, heavy: Path, threads: int, elsewhere: Elsewhere
    ) -> None:
        """One thread means one; two share the work where the engine can. Afterwards nothing spins."""
        expected = min(threads, self.most_threads, len(os.sched_getaffinity(0)))
        measured = elsewhere.call(measure, self.location, heavy, threads, expected)
        assert measured.usual_threads <= expected <= measured.most_threads
        assert measured.settling_cpu_s < self.settling_cpu_s
        assert measured.idle_cpu_s < 0.01

    def check(self, session: Session, a: Array, b: Array) -> None:
        """One call, and its answer."""
        results = session.infer({"a": a, "b": b})
        for name, array in self.expected(a, b).items():
            np.testing.assert_allclose(results[name], array, rtol=1e-6)


def load(location: str) -> Runtime:
    """A new instance of the class at ``module:Class``."""
    module, _, attribute = location.partition(":")
    return cast("Runtime", getattr(importlib.import_module(module), attribute)())


def numbers(batch: int, *, seed: int = 0) -> tuple[Array, Array]:
    """Two FP32 arrays ``[batch, 4]``."""
    pair = np.random.default_rng(seed).normal(size=(2, batch, 4)).astype(np.float32)
    return pair[0].copy(), pair[1].copy()


def extremes(datatype: Datatype, limits: tuple[int, int] | None = None) -> Array:
    """An array ``[2, 3]`` with the least and greatest values of a datatype, or the given ones."""
    dtype = np.dtype(DATATYPES[datatype])
    if datatype == "BYTES":
        return np.array([["", "a", "é"], ["名", "x y", "0"]], dtype=object)
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    info: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    least, greatest = limits or (info.min, info.max)
    return np.array([[least, 0, 1], [2, 3, greatest]], dtype)


def refusal(session: Session, inputs: Mapping[str, Array]) -> TensorError:
    """The TensorError that these inputs meet."""
    with pytest.raises(TensorError) as refused:
        session.infer(inputs)
    return refused.value


def measure(location: str, artifact: Path, threads: int, expected: int) -> Measured:
    """Runs a heavy model for a while, then nothing for a while; see ``Measured``. On a machine that is busy with other
    things it goes on until a call was seen to use as many threads as expected, ten seconds at most.
    """
    session = load(location).open(artifact, SessionOptions(threads=threads, trusted=True))
    x = np.random.default_rng(0).normal(size=(256, 512)).astype(np.float32)
    for _ in range(3):
        session.infer({"x": x})
    busy: list[int] = []
    start = time.monotonic()
    while (passed := time.monotonic() - start) < 0.3 or (max(busy) < expected and passed < 10):
        before = _cpu_by_thread()
        session.infer({"x": x})
        used = [spent - before.get(thread, 0) for thread, spent in _cpu_by_thread().items()]
        busy.append(sum(spent > max(used) / 4 for spent in used))
    settling = sorted(_cpu_after(session, {"x": x}) for _ in range(10))
    time.sleep(0.1)
    idle = _cpu_in(0.3)
    session.close()
    return Measured(sorted(busy)[len(busy) * 9 // 10], max(busy), settling[5], idle)


def _cpu_after(session: Session, inputs: Mapping[str, Array]) -> float:
    session.infer(inputs)
    return _cpu_in(0.05)


def _cpu_in(seconds: float) -> float:
    """CPU time that this process takes while the caller sleeps."""
    start = time.process_time()
    time.sleep(seconds)
    return time.process_time() - start


def open_damaged(location: str, artifact: Path, damages: int) -> list[str]:
    """Opens an artifact damaged in many ways; returns those that were wrongly accepted."""
    runtime = load(location)
    content = artifact.read_bytes()
    chance = random.Random(0)  # noqa: S311  (a repeatable choice of bytes, no secret)
    target = artifact.with_name(f"damaged-{artifact.name}")
    for path in artifact.parent.glob(f"{artifact.stem}.*"):  # weights beside it
        if path != artifact:
            target.with_suffix(path.suffix).write_bytes(path.read_bytes())
    cut = {f"cut to {size}": content[:size] for size in sorted({len(content) * i // 8 for i in range(8)} | {1, 4, 8})}
    accepted = [
        name
        for name, damaged in {**cut, "noise": chance.randbytes(len(content))}.items()
        if _survives(runtime, target, damaged)
    ]
    for _ in range(damages):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        _survives(runtime, target, bytes(damaged))
    return accepted


def _survives(runtime: Runtime, target: Path, damaged: bytes) -> bool:
    """Whether a damaged artifact could be opened; what opens is also run once, which may fail."""
    target.write_bytes(damaged)
    try:
        session = runtime.open(target, SessionOptions())
    except EdgewiseError:
        return False
    with contextlib.suppress(EdgewiseError):
        session.infer({spec.name: _zeros(spec) for spec in session.inputs})
    session.close()
    return True


def _zeros(spec: TensorSpec) -> Array:
    shape = [1 if size == -1 else size for size in spec.shape]
    if np.prod(shape, dtype=float) > 1e7:
        raise TensorError(f"{spec.name} is too large to try")
    return np.zeros(shape, DATATYPES[spec.datatype])


def _cpu_by_thread() -> dict[str, float]:
    """CPU seconds of every thread of this process, by the clock the kernel keeps for each (clock_getcpuclockid(3))."""
    spent = {}
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            spent[thread.name] = time.clock_gettime(~int(thread.name) << 3 | 6)  # CPUCLOCK_PERTHREAD_MASK | _SCHED
    return spent
