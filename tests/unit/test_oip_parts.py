"""A batch in parts and back again: the same bytes as if it had gone whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.api.oip import codec, parts
from edgewise.api.oip.structs import InferRequest, RequestOutput
from edgewise.errors import UnavailableError
from edgewise.node.spread import split
from edgewise.types import DATATYPES

if TYPE_CHECKING:
    from edgewise.types import Array

NUMBERS = sorted(set(DATATYPES) - {"BYTES", "BOOL"})


def request(rows: int, datatype: str, *, binary: bool, named: bool) -> tuple[InferRequest, dict[str, Array]]:
    array = np.arange(rows * 3).reshape(rows, 3).astype(DATATYPES[datatype])
    tensor = {"name": "x", "shape": [rows, 3], "datatype": datatype, "parameters": {"binary_data_size": array.nbytes}}
    content = {"id": "7", "inputs": [tensor], "parameters": {"binary_data_output": binary}}
    if named:
        content["outputs"] = [{"name": "y", "parameters": {"binary_data": binary}}]
    head = msgspec.json.encode(content)
    return codec.decode(memoryview(bytearray(head + array.tobytes())), len(head))


def echo(body: bytes, length: int) -> tuple[bytes, int | None]:
    """A node whose model gives what it takes."""
    asked, arrays = codec.decode(memoryview(bytearray(body)), length)
    return codec.encode(asked, {"y": arrays["x"]}, model="echo", version="1")


@given(st.integers(2, 40), st.integers(2, 12), st.sampled_from(NUMBERS), st.booleans(), st.booleans())
def test_parts_joined_are_the_whole(rows: int, count: int, datatype: str, binary: bool, named: bool) -> None:
    binary = binary or datatype == "FP16"  # which has no JSON form
    whole, arrays = request(rows, datatype, binary=binary, named=named)
    assert parts.rows_of(whole, arrays, open_first=True) == rows
    runs = split(rows, count)
    answers = [parts.outputs_of(*echo(*parts.part_of(whole, arrays, first, end))) for first, end in runs]
    joined = parts.joined(whole, answers, [end - first for first, end in runs])
    assert joined == codec.encode(whole, {"y": arrays["x"]}, model="echo", version="1")


def test_what_is_no_batch_stays_whole() -> None:
    whole, arrays = request(4, "FP32", binary=False, named=False)
    assert parts.rows_of(whole, arrays, open_first=False) == 1
    assert parts.rows_of(whole, arrays | {"z": np.zeros((3, 1))}, open_first=True) == 1
    assert parts.rows_of(whole, {"x": np.array(["a", "b"], dtype=object)}, open_first=True) == 1
    best = msgspec.convert([{"name": "y", "parameters": {"classification": 1}}], list[RequestOutput])
    assert parts.rows_of(msgspec.structs.replace(whole, outputs=best), arrays, open_first=True) == 1


def test_answers_that_do_not_fit_together_are_refused() -> None:
    whole, arrays = request(4, "FP32", binary=False, named=False)
    answer = parts.outputs_of(*echo(*parts.part_of(whole, arrays, 0, 2)))
    with pytest.raises(UnavailableError):
        parts.joined(whole, [answer, answer], [2, 3])
    for damaged in (b"", b"{}", b'{"model_name":"m","model_version":"1","outputs":[{"name":"y"}]}'):
        with pytest.raises(UnavailableError):
            parts.outputs_of(damaged, len(damaged))
