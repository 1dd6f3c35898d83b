"""LiteRT models that remember: what is none of them is refused. That real ones stay the same is in test_zoo_sound."""

from pathlib import Path

import pytest

from edgewise.convert import tflite_state
from edgewise.errors import PackageError

pytest.importorskip("ai_edge_litert")


@pytest.mark.parametrize(
    "data", [b"", b"not a model", b"\x20\0\0\0TFL3", b"\x20\0\0\0TFL3" + bytes(range(256))], ids=range(4)
)
def test_what_is_no_model_is_refused_and_nothing_is_written(tmp_path: Path, data: bytes) -> None:
    source, target = tmp_path / "model.tflite", tmp_path / "out.tflite"
    source.write_bytes(data)
    with pytest.raises(PackageError, match=r"model\.tflite"):
        tflite_state.convert(source, target)
    assert not target.exists()
