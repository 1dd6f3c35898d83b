"""A model that is open and ready: raw input in, typed results out."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from edgewise import runtimes
from edgewise._lib.documents import nearest
from edgewise.errors import EngineError, InputError, MissingExtraError, NotFoundError, TensorError
from edgewise.models import folder as packages
from edgewise.models.archive import opened
from edgewise.models.bound import BoundSession
from edgewise.models.inputs import read_input
from edgewise.models.prediction import Benchmark, Prediction, Timing
from edgewise.models.preprocess import Landmarks, Prepared, Preprocessor, check_finite
from edgewise.models.stream import Stream, listening_input, start_state
from edgewise.models.tasks.base import Context, Decoder, Head
from edgewise.runtimes.base import Session, SessionOptions

if TYPE_CHECKING:
    from edgewise.models.manifest import Manifest, Variant
    from edgewise.types import Array, Image, Result

MAX_BATCH = 32
"""Items that go through the engine in one call: more gain nothing and take memory."""

MAX_TUNED = 16
"""Decoders with other options that are kept for the next call with the same ones."""


class Model:
    """An open model. Every method may be called from several threads at once.

    Attributes:
        manifest: What is known about the model.
        variant: The variant in use.
        folder: The package.
    """

    def __init__(self, folder: Path, manifest: Manifest, variant: Variant, session: Session) -> None:
        """Joins the parts; use ``open``."""
        self.folder = folder
        self.manifest = manifest
        self.variant = variant
        self._bound = BoundSession(session, manifest, variant)
        self._preprocessors = {
            spec.name: Preprocessor(spec, field=f"inputs[{index}]") for index, spec in enumerate(manifest.inputs)
        }
        self._decoder_class = packages.decoder_of(manifest)
        self._options = packages.task_options(manifest)
        head = packages.head_of(manifest, folder)
        self._head = Head(manifest, functools.lru_cache(maxsize=8)(head.read))
        self._decoder = self._decoder_class(self._options, self._head)
        self._tuned: dict[tuple[tuple[str, object], ...], Decoder] = {}
        self._lock = threading.Lock()
        self._cleanup = contextlib.ExitStack()

    @classmethod
    def open(cls, place: Path | str, *, options: SessionOptions | None = None, variant: str = "auto") -> Model:
        """Opens a model package.

        The files that the chosen variant's answers depend on are compared with their digests first. A zip is unpacked
        into a temporary folder that goes away with ``close``.

        Args:
            place: The package, a folder or a zip.
            options: How the session runs.
            variant: A variant's name; ``auto`` takes the first whose runtime is installed.

        Raises:
            NotFoundError: There is no package at that place, or no such variant in it.
            PackageError: The package breaks the format.
            CorruptError: A file does not have its digest.
            MissingExtraError: The runtime is not installed; the hint is the ``pip install`` line.
        """
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(opened(Path(place)))
            manifest = packages.load_manifest(folder)
            chosen = choose_variant(manifest, variant)
            packages.verify(folder, manifest, packages.files_in_use(manifest, chosen))
            runtime = runtimes.open_runtime(chosen.runtime)
            session = runtime.open(packages.inside(folder, chosen.artifact), options or SessionOptions())
            stack.callback(session.close)
            model = cls(folder, manifest, chosen, session)
            model._cleanup = stack.pop_all()
            return model

    @property
    def session(self) -> Session:
        """The engine's session, with the artifact's own tensor names."""
        return self._bound.session

    @property
    def batched(self) -> bool:
        """Whether the engine takes several items in one call."""
        return self._bound.batched

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes; empty when the package has none."""
        path = self.manifest.task.get("labels")
        return self._head.labels(path) if isinstance(path, str) and path else ()

    def predict(self, raw: object, *, landmarks: Landmarks | None = None, **task_options: Any) -> Prediction:
        """Predicts for one input.

        Args:
            raw: A path, the bytes of a file, an RGB picture ``uint8 [height, width, 3]``, a series of numbers
                ``[time, channels]``; for a model with several inputs a dict of these by name.
            landmarks: The five points of the face in the picture, for models that align faces.
            task_options: Options of the task for this call, such as ``top=3`` or ``threshold=0.5``.

        Raises:
            InputError: The input or an option cannot be used; the class says why.
            EngineError: The engine failed.
            ClosedError: The model was closed.
        """
        return self.predict_batch([raw], landmarks=[landmarks or ()], **task_options)[0]

    def predict_batch(
        self, raws: Sequence[object], *, landmarks: Sequence[Landmarks] | None = None, **task_options: Any
    ) -> list[Prediction]:
        """Predicts for several inputs; in one engine call where the model takes batches, else one after the other.

        Args:
            raws: Inputs as for ``predict``.
            landmarks: One entry per input.
            task_options: As for ``predict``.
        """
        decoder = self._tuned_decoder(task_options)
        points = list(landmarks) if landmarks is not None else [()] * len(raws)
        if len(points) != len(raws):
            raise InputError(f"{len(raws)} inputs came with landmarks for {len(points)}")
        size = MAX_BATCH if self.batched else 1
        predictions: list[Prediction] = []
        for start in range(0, len(raws), size):
            predictions += self._predict_chunk(raws[start : start + size], points[start : start + size], decoder)
        return predictions

    def preprocess(self, raw: object, *, landmarks: Landmarks = ()) -> dict[str, Array]:
        """The input tensors of one item, with a batch axis of 1, by the manifest's names. A model that remembers gets
        what it remembers at the beginning of a stream.
        """
        tensors = {name: prepared.tensor for name, (prepared, _) in self._prepare(raw, landmarks).items()}
        return tensors | start_state(self.manifest)

    def stream(self, *, rate: int | None = None) -> Stream:
        """A new stream of sound for a model that listens.

        Args:
            rate: Of the samples that will be fed, Hz; the model's own when None.

        Raises:
            InputError: The model does not listen to streams.
            MissingExtraError: The extra ``audio`` is not installed.
        """
        return Stream(self, rate=rate)

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Tensors in, tensors out, by the manifest's names.

        Raises:
            TensorError: A name, datatype or shape does not fit, or a value is NaN or infinite.
            EngineError: The engine failed.
            ClosedError: The model was closed.
        """
        for name, array in inputs.items():
            check_finite(array, name)
        return self._bound.infer(inputs, outputs)

    def decode(self, outputs: Mapping[str, Array], context: Context, **task_options: Any) -> list[Result]:
        """Results from output tensors, one per item of the context.

        Raises:
            EngineError: The model gave NaN or infinite values.
        """
        return self._decode(self._tuned_decoder(task_options), outputs, context)

    def benchmark(self, seconds: float = 3.0) -> Benchmark:
        """Measures the engine alone, one call after the other on a fixed input, after a warm-up of a tenth."""
        inputs = self._example()
        self._time_calls(inputs, seconds / 10)
        started = time.perf_counter()
        times = sorted(self._time_calls(inputs, seconds))
        total = time.perf_counter() - started
        return Benchmark(
            model=self.manifest.name,
            variant=self.variant.name,
            provider=self.session.provider,
            calls=len(times),
            seconds=total,
            mean_ms=1000 * sum(times) / len(times),
            p50_ms=1000 * times[(len(times) - 1) // 2],
            p99_ms=1000 * times[min(len(times) - 1, len(times) * 99 // 100)],
            per_second=len(times) / total,
        )

    def close(self) -> None:
        """Frees the model. Waits for calls under way; may be called twice."""
        self._cleanup.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        spec = ", ".join(f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in self.manifest.inputs)
        fallback = f"; {self.session.fallback}" if self.session.fallback else ""
        return (
            f"Model {self.manifest.name} {self.manifest.version}: {self.manifest.task['kind']}, takes {spec}, "
            f"{self.variant.name} on {self.variant.runtime} ({self.session.provider}{fallback})"
        )

    def _prepare(self, raw: object, landmarks: Landmarks) -> dict[str, tuple[Prepared, Any]]:
        by_name = self._by_name(raw)
        prepared = {}
        for spec in self.manifest.inputs:
            if spec.name not in by_name:
                continue  # what it remembers
            array = read_input(by_name[spec.name], spec)
            prepared[spec.name] = (self._preprocessors[spec.name](array, landmarks=landmarks), array)
        return prepared

    def _by_name(self, raw: object) -> Mapping[str, object]:
        remembered = {state.input for state in self.manifest.state}
        names = [spec.name for spec in self.manifest.inputs if spec.name not in remembered]
        if not isinstance(raw, Mapping):
            if len(names) > 1:
                raise TensorError(f"This model takes {len(names)} inputs", hint=f"Give a dict of {', '.join(names)}.")
            return {names[0]: raw}
        for name in raw:
            if name not in names:
                raise TensorError(f"No input is named {name!r}", hint=nearest(str(name), names), tensor=str(name))
        for name in names:
            if name not in raw:
                raise TensorError(f"Input {name!r} is missing", hint=f"Inputs: {', '.join(names)}.", tensor=name)
        return raw

    def _predict_chunk(
        self, raws: Sequence[object], landmarks: Sequence[Landmarks], decoder: Decoder
    ) -> list[Prediction]:
        if self.manifest.state:
            return [self._predict_clip(raw, decoder) for raw in raws]
        started = time.perf_counter()
        items = [self._prepare(raw, points) for raw, points in zip(raws, landmarks, strict=True)]
        prepared = time.perf_counter()
        outputs = self._bound.infer(_stack([{name: pair[0].tensor for name, pair in item.items()} for item in items]))
        inferred = time.perf_counter()
        first = self.manifest.inputs[0].name
        context = Context(tuple(item[first][0].geometry for item in items))
        results = self._decode(decoder, outputs, context)
        decoded = time.perf_counter()
        share = 1000 / len(items)
        timing = Timing((prepared - started) * share, (inferred - prepared) * share, (decoded - inferred) * share)
        pictures = self.manifest.inputs[0].kind == "image"
        return [
            self._prediction(result, timing, item[first][1] if pictures else None)
            for result, item in zip(results, items, strict=True)
        ]

    def _predict_clip(self, raw: object, decoder: Decoder) -> Prediction:
        """A model that remembers hears the whole clip; the largest of its outputs over all windows count."""
        import numpy as np

        spec = listening_input(self.manifest)
        started = time.perf_counter()
        samples = self._preprocessors[spec.name].samples(read_input(self._by_name(raw)[spec.name], spec))
        stream = self.stream()
        if len(samples) < stream.least:
            samples = np.pad(samples, (0, stream.least - len(samples)))
        prepared = time.perf_counter()
        outputs = functools.reduce(
            lambda one, other: {name: np.maximum(one[name], other[name]) for name in one}, stream.outputs_of(samples)
        )
        inferred = time.perf_counter()
        [result] = self._decode(decoder, outputs, Context((None,)))
        times = (started, prepared, inferred, time.perf_counter())
        return self._prediction(result, Timing(*(1000 * (b - a) for a, b in itertools.pairwise(times))), None)

    def _prediction(self, result: Result, timing: Timing, image: Image | None) -> Prediction:
        return Prediction(result, self.manifest.name, self.manifest.version, self.variant.name, timing, image)

    def _decode(self, decoder: Decoder, outputs: Mapping[str, Array], context: Context) -> list[Result]:
        for name, array in outputs.items():
            try:
                check_finite(array, name)
            except TensorError as error:
                raise EngineError(
                    f"{self.manifest.name} ({self.variant.name}) gave NaN or infinite values in output {name!r}",
                    hint="Check the package: edgewise model check",
                    tensor=name,
                ) from error
        return decoder.decode(outputs, context)

    def _tuned_decoder(self, changes: Mapping[str, object]) -> Decoder:
        if not changes:
            return self._decoder
        for name in changes:
            if name not in self._decoder_class.TUNABLE:
                raise InputError(
                    f"Task {self.manifest.task['kind']!r} has no option {name!r} to change",
                    hint=nearest(name, self._decoder_class.TUNABLE),
                    option=name,
                )
        try:
            merged = {**msgspec.to_builtins(self._options), **changes}
            options = msgspec.convert(merged, self._decoder_class.Options)
        except msgspec.ValidationError as error:
            raise InputError(f"An option of the task is wrong: {error}", options=list(changes)) from error
        return self._kept(tuple(sorted(changes.items())), options)

    def _kept(self, key: tuple[tuple[str, object], ...], options: Any) -> Decoder:
        with self._lock:
            if key not in self._tuned:
                if len(self._tuned) >= MAX_TUNED:
                    self._tuned.pop(next(iter(self._tuned)))
                self._tuned[key] = self._decoder_class(options, self._head)
            return self._tuned[key]

    def _example(self) -> dict[str, Array]:
        """Zeros of the stated shapes, with 1 for what is dynamic."""
        import numpy as np

        from edgewise.types import DATATYPES

        return {
            spec.name: np.zeros([max(1, size) for size in spec.shape], DATATYPES[spec.datatype])
            for spec in self.manifest.inputs
        }

    def _time_calls(self, inputs: Mapping[str, Array], seconds: float) -> list[float]:
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            started = time.perf_counter()
            self._bound.infer(inputs)
            times.append(time.perf_counter() - started)
        return times


def choose_variant(manifest: Manifest, name: str = "auto") -> Variant:
    """The variant of that name; for ``auto`` the first whose runtime is installed.

    Raises:
        NotFoundError: No variant has that name.
        MissingExtraError: For ``auto``: no variant's runtime is installed.
    """
    variants = {variant.name: variant for variant in manifest.variants}
    if name != "auto":
        if name not in variants:
            raise NotFoundError(
                f"{manifest.name} has no variant {name!r}", hint=nearest(name, variants), kind="variant", name=name
            )
        return variants[name]
    known = runtimes.available()
    for variant in manifest.variants:
        if variant.runtime in known and known[variant.runtime].installed:
            return variant
    wanted = manifest.variants[0].runtime
    hint = known[wanted].hint if wanted in known else nearest(wanted, known)
    raise MissingExtraError(
        f"No runtime of {manifest.name} is installed: {', '.join(variant.runtime for variant in manifest.variants)}",
        hint=hint,
    )


def _stack(items: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    import numpy as np

    if len(items) == 1:
        return dict(items[0])
    try:
        return {name: np.concatenate([item[name] for item in items]) for name in items[0]}
    except ValueError as error:
        raise TensorError("The items of a batch differ in shape", hint="Give them one at a time.") from error
