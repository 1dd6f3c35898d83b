"""From samples to features of speech, in a stream: the operations ``log_mel``, ``mfcc`` and ``micro_features``.

A whole clip is a stream that is fed at once, so training, files and microphones share this one implementation. A frame
is given out as soon as all its samples are there, and none is made of samples that are not: the last, incomplete frame
of a clip is left out.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

from edgewise.errors import MissingExtraError
from edgewise.models import manifest

if TYPE_CHECKING:
    from edgewise.types import Array

_FULL_SCALE = 32768.0
"""Kaldi and the micro frontend take samples as 16-bit numbers."""
_MICRO_STEP, _MICRO_FRAME, _MICRO_BINS = 160, 480, 40
_MICRO_SCALE = 0.0390625
"""The micro frontend's numbers are 0..666 (10/256 each) before they are quantised."""


class Front(Protocol):
    """Makes features in a stream. One object serves one stream.

    Attributes:
        step: Samples between two frames.
        frame: Samples in a frame; both are 1 where the samples themselves are the features.
    """

    step: int
    frame: int

    def feed(self, samples: Array) -> Array:
        """The frames that these samples complete: ``float32 [n, features]``; ``[n]`` where there are none to make."""
        ...


def make_front(spec: manifest.Input) -> Front:
    """A new stream of the features that an ``audio`` input is made from.

    Raises:
        MissingExtraError: The extra ``audio`` is not installed.
    """
    match feature_of(spec):
        case manifest.LogMel() as operation:
            return _Kaldi(spec, operation, "OnlineFbank", "FbankOptions")
        case manifest.Mfcc() as operation:
            return _Kaldi(spec, operation, "OnlineMfcc", "MfccOptions")
        case manifest.MicroFeatures():
            return _Micro()
    return _Samples()


def feature_of(spec: manifest.Input) -> manifest.Operation | None:
    """The operation that makes features, which comes first if there is one."""
    first = spec.preprocess[0] if spec.preprocess else None
    return first if isinstance(first, FEATURES) else None


def width_of(operation: manifest.Operation) -> int:
    """Numbers in a frame."""
    match operation:
        case manifest.LogMel(bins=bins):
            return bins
        case manifest.Mfcc(coefficients=coefficients):
            return coefficients
    return _MICRO_BINS


FEATURES = (manifest.LogMel, manifest.Mfcc, manifest.MicroFeatures)


class _Samples:
    step = frame = 1

    def feed(self, samples: Array) -> Array:
        return samples


class _Kaldi:
    """Filter banks and cepstra as Kaldi computes them (Povey et al. 2011), by kaldi-native-fbank."""

    def __init__(self, spec: manifest.Input, operation: Any, online: str, options: str) -> None:
        library = _import("kaldi_native_fbank")
        chosen = getattr(library, options)()
        frames, mel = chosen.frame_opts, chosen.mel_opts
        frames.samp_freq = spec.rate_hz
        frames.frame_length_ms, frames.frame_shift_ms = operation.frame_ms, operation.step_ms
        frames.dither = 0.0  # noise is no part of a definition
        frames.snip_edges = True
        mel.num_bins, mel.low_freq, mel.high_freq = operation.bins, operation.low_hz, operation.high_hz
        if isinstance(operation, manifest.Mfcc):
            chosen.num_ceps = operation.coefficients
            chosen.use_energy = False
        self.step = round(spec.rate_hz * operation.step_ms / 1000)
        self.frame = round(spec.rate_hz * operation.frame_ms / 1000)
        self._width = width_of(operation)
        self._rate = spec.rate_hz
        self._online = getattr(library, online)(chosen)
        self._given = 0

    def feed(self, samples: Array) -> Array:
        import numpy as np

        self._online.accept_waveform(self._rate, samples * np.float32(_FULL_SCALE))
        ready = self._online.num_frames_ready
        rows = np.empty((ready - self._given, self._width), np.float32)
        for row in range(len(rows)):
            rows[row] = self._online.get_frame(self._given + row)
        self._online.pop(ready - self._given)  # else it keeps every frame for ever
        self._given = ready
        return rows


class _Micro:
    """The audio front end of TensorFlow Lite Micro as microWakeWord uses it: 40 bins of 30 ms every 10 ms, noise
    reduced and gain controlled (PCAN), by pymicro-features.
    """

    step, frame = _MICRO_STEP, _MICRO_FRAME

    def __init__(self) -> None:
        import numpy as np

        self._frontend = _import("pymicro_features").MicroFrontend()
        self._left = np.zeros(0, np.int16)

    def feed(self, samples: Array) -> Array:
        import numpy as np

        levels = np.clip(np.rint(samples * np.float32(_FULL_SCALE)), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
        levels = np.concatenate([self._left, levels])
        whole = len(levels) // _MICRO_STEP * _MICRO_STEP
        self._left = levels[whole:]
        found = []
        for start in range(0, whole, _MICRO_STEP):
            output = self._frontend.process_samples(levels[start : start + _MICRO_STEP].tobytes())
            if output.features:
                found.append(output.features)
        return np.asarray(found, np.float32).reshape(-1, _MICRO_BINS)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"Features of sound need {name}", hint="pip install 'edgewise[audio]'", extra="audio"
        ) from error
