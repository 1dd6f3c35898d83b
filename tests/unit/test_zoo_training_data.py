"""The training data comes as a pickle; reading it must not run anything."""

import importlib.util
import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "datasets.py"


@pytest.fixture
def unpickler():
    spec = importlib.util.spec_from_file_location("training_datasets", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module.ArrayUnpickler
    del sys.modules[spec.name]


class Harmful:
    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


def test_arrays_in_containers_are_read(unpickler):
    data = {"X": [np.arange(6.0).reshape(2, 3)], "y": np.array([1, 2]), "names": ["a", "b"]}
    stream = io.BytesIO(pickle.dumps(data, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    read = unpickler(stream).load()
    assert read["names"] == ["a", "b"]
    assert np.array_equal(read["X"][0], data["X"][0])
    assert np.array_equal(read["y"], data["y"])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_is_refused_and_not_run(unpickler, tmp_path, protocol):
    mark = tmp_path / "ran"
    stream = io.BytesIO(pickle.dumps([Harmful(Path.touch, mark)], protocol=protocol))
    with pytest.raises(pickle.UnpicklingError, match="no place in an array"):
        unpickler(stream).load()
    assert not mark.exists()


def test_no_codec_but_the_one_for_bytes_runs(unpickler):
    import codecs

    stream = io.BytesIO(pickle.dumps(Harmful(codecs.encode, "text", "zlib_codec"), protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="no place in an array"):
        unpickler(stream).load()
